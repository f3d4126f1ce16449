//! Whether the admission policy is the one that this version ships, word by word: under its name may stand one that allows
//! everything, or a binding that leads elsewhere. Pure.

use serde_json::Value;

/// As the chart renders it for [`RENDERED_FOR`]; `tests/tests/chart` sees to that.
const SHIPPED: &str = include_str!("admission-policy.json");

/// The namespace of the accounts in [`SHIPPED`].
const RENDERED_FOR: &str = "system:serviceaccount:vedette-system:";

/// What the two objects of the policy say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Policy {
    pub(super) policy: Option<Value>,
    pub(super) binding: Option<Value>,
}

/// Why an agent's status is not guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unguarded {
    /// The policy or its binding is not there.
    Missing,
    /// The first place that differs from what is shipped.
    Differs(String),
}

/// Why the policy does not guard as that of this version does, for accounts of this namespace; `None` where it does.
pub(super) fn unguarded(found: &Policy, namespace: &str) -> Option<Unguarded> {
    let (Some(policy), Some(binding)) = (&found.policy, &found.binding) else { return Some(Unguarded::Missing) };
    let accounts = format!("system:serviceaccount:{namespace}:");
    let shipped: Value = serde_json::from_str(&SHIPPED.replace(RENDERED_FOR, &accounts)).unwrap_or_default();
    differs(&shipped["policy"], policy, "the policy's spec")
        .or_else(|| differs(&shipped["binding"], binding, "the binding's spec"))
        .map(Unguarded::Differs)
}

/// Where one differs from the other. What the API server adds by itself is empty; ends of lines mean nothing.
fn differs(expected: &Value, found: &Value, place: &str) -> Option<String> {
    let here = || Some(place.to_owned());
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let added = found.iter().find(|(key, value)| !expected.contains_key(*key) && !is_empty(value));
            if let Some((key, _)) = added {
                return Some(format!("{place}.{key}"));
            }
            let null = &Value::Null;
            expected
                .iter()
                .find_map(|(key, value)| differs(value, found.get(key).unwrap_or(null), &format!("{place}.{key}")))
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs.into_iter().find_map(|(at, (expected, found))| differs(expected, found, &format!("{place}[{at}]")))
        }
        (Value::String(expected), Value::String(found)) if expected.split_whitespace().eq(found.split_whitespace()) => {
            None
        }
        (expected, found) if expected == found => None,
        _ => here(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn shipped() -> Policy {
        let shipped: Value = serde_json::from_str(SHIPPED).unwrap();
        Policy { policy: Some(shipped["policy"].clone()), binding: Some(shipped["binding"].clone()) }
    }

    #[test]
    fn what_is_shipped_guards_also_with_what_the_api_server_adds() {
        let mut found = shipped();
        found.policy.as_mut().unwrap()["matchConstraints"]["namespaceSelector"] = json!({});
        assert_eq!(unguarded(&found, "vedette-system"), None);
        assert_eq!(unguarded(&Policy { binding: None, ..found }, "vedette-system"), Some(Unguarded::Missing));
    }

    #[test]
    fn one_that_allows_more_or_leads_elsewhere_does_not() {
        type Change = fn(&mut Policy);
        let changes: [(Change, &str); 7] = [
            (
                |it| it.policy.as_mut().unwrap()["validations"][0]["expression"] = json!("true"),
                "validations[0].expression",
            ),
            (|it| it.policy.as_mut().unwrap()["validations"] = json!([]), "validations"),
            (|it| it.policy.as_mut().unwrap()["failurePolicy"] = json!("Ignore"), "failurePolicy"),
            (
                |it| it.policy.as_mut().unwrap()["matchConditions"] = json!([{"name": "n", "expression": "false"}]),
                "matchConditions",
            ),
            (|it| it.binding.as_mut().unwrap()["policyName"] = json!("other"), "the binding's spec.policyName"),
            (|it| it.binding.as_mut().unwrap()["validationActions"] = json!(["Audit"]), "validationActions"),
            (
                |it| {
                    it.binding.as_mut().unwrap()["matchResources"] =
                        json!({"objectSelector": {"matchLabels": {"a": "b"}}})
                },
                "matchResources",
            ),
        ];
        for (change, place) in changes {
            let mut found = shipped();
            change(&mut found);
            let Some(Unguarded::Differs(said)) = unguarded(&found, "vedette-system") else {
                panic!("{place} is taken")
            };
            assert!(said.ends_with(place), "{said}");
        }
        let Some(Unguarded::Differs(said)) = unguarded(&shipped(), "another") else { panic!("accounts of elsewhere") };
        assert!(said.contains("variables[0].expression"), "{said}");
    }
}
