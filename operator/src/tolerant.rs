//! Objects as others left them. Reads what the API server hands out, produces an object that can be read: a time that the
//! server stores and no `Timestamp` holds, which a kubelet can write into its Node and its pods, would else end the list
//! of all objects of that kind, and blind the operator to every node.

use std::borrow::Cow;

use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Stands for a time that cannot be read: that there is one means something, and it is nobody's latest.
const SOMETIME: &str = "1970-01-01T00:00:00Z";

/// The members that are times.
const TIMES: [&str; 6] =
    ["creationTimestamp", "deletionTimestamp", "lastTransitionTime", "time", "lastChangeTime", "lastCompleted"];

/// An object of which a time that cannot be read is not a reason to read none.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(crate) struct Tolerant<K>(pub(crate) K);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Tolerant<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        make_readable(&mut object);
        serde_json::from_value(object).map(Self).map_err(D::Error::custom)
    }
}

fn make_readable(object: &mut Value) {
    for list in [
        "/metadata/managedFields",
        "/status/conditions",
        "/status/rules",
        "/status/collectors",
        "/status/recentChanges",
    ] {
        let parts = object.pointer_mut(list).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(replace_times);
    }
    for part in ["metadata", "status"] {
        object.get_mut(part).into_iter().for_each(replace_times);
    }
}

fn replace_times(part: &mut Value) {
    for member in TIMES {
        if let Some(time) = part.get_mut(member)
            && is_unreadable(time)
        {
            *time = json!(SOMETIME);
        }
    }
}

fn is_unreadable(time: &Value) -> bool {
    time.as_str().is_some_and(|text| text.parse::<Timestamp>().is_err())
}

impl<K: Resource> Resource for Tolerant<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(kind: &K::DynamicType) -> Cow<'_, str> {
        K::kind(kind)
    }

    fn group(kind: &K::DynamicType) -> Cow<'_, str> {
        K::group(kind)
    }

    fn version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::version(kind)
    }

    fn api_version(kind: &K::DynamicType) -> Cow<'_, str> {
        K::api_version(kind)
    }

    fn plural(kind: &K::DynamicType) -> Cow<'_, str> {
        K::plural(kind)
    }

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use kube::api::DynamicObject;

    use super::*;

    #[test]
    fn a_time_that_cannot_be_read_hides_nothing_else() {
        let late = "9999-12-31T23:59:59Z";
        let object = json!({
            "metadata": {"name": "n1", "deletionTimestamp": "34865-01-01T00:00:00Z", "managedFields": [
                {"manager": "hostile", "time": late}, {"manager": "honest", "time": "2026-11-24T04:00:00Z"}]},
            "status": {"conditions": [{"type": "Ready", "lastTransitionTime": late}], "lastChangeTime": late,
                "rules": [{"name": "etc", "lastChangeTime": late}], "recentChanges": [{"sequence": 1, "time": late}],
                "collectors": [{"name": "Files", "lastCompleted": late}]},
        });
        assert!(serde_json::from_value::<DynamicObject>(object.clone()).is_err(), "no need for this any more");
        let Tolerant(read) = serde_json::from_value::<Tolerant<DynamicObject>>(object).unwrap();
        assert!(read.metadata.deletion_timestamp.is_some(), "it is being deleted");
        let claims = read.metadata.managed_fields.unwrap();
        assert!(claims[0].time < claims[1].time, "it is not the latest");
        let status = &read.data["status"];
        assert_eq!(status["conditions"][0]["lastTransitionTime"], SOMETIME);
        assert_eq!(status["rules"][0]["lastChangeTime"], SOMETIME);
        assert!(!status.to_string().contains(late), "{status}");
    }
}
