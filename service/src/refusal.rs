//! Why a request to the API server failed, as the end of a sentence that says what failed. Pure.

use std::error::Error as StdError;
use std::{fmt, io};

use tower::timeout::error::Elapsed;

use crate::api_server::{ANSWER_WITHIN, CONNECT_WITHIN};
use crate::{deepest, report};

/// What kind of failure it was: a closed set, for those who act or count by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No connection, no answer in time, or no sense in it.
    Unreachable,
    /// The API server does not know us: the token has expired or is not its own.
    Unauthorized,
    /// A permission is missing, or a policy denies it.
    Forbidden,
    /// There is no such object, or no such kind.
    NotFound,
    /// The version that was asked for is gone: all is to be listed anew.
    Expired,
    /// The API server's definition of the kind lacks a field.
    SchemaOutdated,
    /// The content is refused.
    Invalid,
    /// The API server asks for patience, or has a problem of its own.
    Unavailable,
}

/// What kind of failure this is.
pub fn refusal(error: &kube::Error) -> Refusal {
    let kube::Error::Api(status) = error else { return Refusal::Unreachable };
    match status.code {
        401 => Refusal::Unauthorized,
        403 => Refusal::Forbidden,
        404 => Refusal::NotFound,
        410 => Refusal::Expired,
        500 if status.message.contains("field not declared in schema") => Refusal::SchemaOutdated,
        429 | 500.. => Refusal::Unavailable,
        _ => Refusal::Invalid,
    }
}

/// How rustls ends when a certificate is of a CA that it does not know.
const UNKNOWN_ISSUER: &str = "invalid peer certificate: UnknownIssuer";

/// Why this failed, and what to do where that is known.
pub fn reason(error: &kube::Error) -> String {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::Service(source) if source.is::<Elapsed>() => {
            return format!("it does not begin to answer within {}s", ANSWER_WITHIN.as_secs());
        }
        // What lies between says only that it is an error of a connection.
        kube::Error::Service(source) => return not_connected(source.as_ref()),
        other => return report(other),
    };
    let message = status.message.trim();
    match status.code {
        401 => "it does not know us (401 Unauthorized): the token has expired or is not of this cluster; \
                it is read anew for each try"
            .into(),
        403 => match missing_right(message) {
            // Not all releases have them.
            Some(right) if right.group.starts_with("auth") => format!("{right}: has the release metrics.secure?"),
            Some(right) => format!("{right}: is charts/manifests/vedette.yaml applied?"),
            None => message.to_owned(),
        },
        404 if is_no_kind(message) => "it has no such kind (404): apply crds/generated/ first".into(),
        404 => message.to_owned(),
        code => format!("it answers {code}: {message}"),
    }
}

fn not_connected(error: &(dyn StdError + 'static)) -> String {
    let deepest = deepest(error);
    // The system's own has a number; without one it is the client's deadline, and only connecting has one.
    let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none();
    if deepest.downcast_ref().is_some_and(timed_out) {
        return format!("no connection within {}s", CONNECT_WITHIN.as_secs());
    }
    let said = deepest.to_string();
    if said.ends_with(UNKNOWN_ISSUER) {
        return format!(
            "no CA that we trust has signed its certificate ({said}); the CA's file is read anew each minute"
        );
    }
    said
}

/// A path that is not served is answered in words for a browser or for kubectl, an object that is not there by its name.
pub fn is_no_kind(message: &str) -> bool {
    message.contains("page not found") || message.contains("could not find the requested resource")
}

/// A right that RBAC says somebody lacks; prints as in `jane may not list pods in the namespace "v"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingRight<'m> {
    /// Who.
    pub user: &'m str,
    /// What to do, as in `list`.
    pub verb: &'m str,
    /// On what, with its subresource: `pods/log`.
    pub resource: &'m str,
    /// The resource's API group; empty for the core's.
    pub group: &'m str,
    /// Where: `at the cluster scope`, or a namespace.
    pub scope: &'m str,
}

/// The right that is missing; `None` for a sentence that is not RBAC's.
pub fn missing_right(message: &str) -> Option<MissingRight<'_>> {
    let (_, rest) = message.split_once("User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let (resource, rest) = rest.split_once("\" in API group \"")?;
    let (group, scope) = rest.split_once('"')?;
    // RBAC may add why it could not look further; the scope ends before that.
    let scope = scope.trim().split(": ").next().unwrap_or_default();
    Some(MissingRight { user, verb, resource, group, scope })
}

impl fmt::Display for MissingRight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, verb, resource, group, scope } = self;
        write!(f, "{user} may not {verb} ")?;
        match (*group, resource.split_once('/')) {
            ("", _) => write!(f, "{resource}")?,
            (group, None) => write!(f, "{resource}.{group}")?,
            (group, Some((resource, part))) => write!(f, "{resource}.{group}/{part}")?,
        }
        write!(f, " {scope}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answer(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, "").with_code(code).boxed())
    }

    #[test]
    fn a_missing_permission_names_who_may_not_do_what_on_what() {
        let said = reason(&answer(
            403,
            "nodeconfigs.vedette.dev is forbidden: User \"system:serviceaccount:vedette-system:vedette-agent\" cannot list \
             resource \"nodeconfigs\" in API group \"vedette.dev\" at the cluster scope",
        ));
        let expected = "system:serviceaccount:vedette-system:vedette-agent may not list nodeconfigs.vedette.dev at the \
                        cluster scope: is charts/manifests/vedette.yaml applied?";
        assert_eq!(said, expected);
        let said = reason(&answer(
            403,
            "pods is forbidden: User \"o\" cannot watch resource \"pods\" in API group \"\" in the namespace \"v\": RBAC: \
             role.rbac.authorization.k8s.io \"x\" not found",
        ));
        assert_eq!(said, "o may not watch pods in the namespace \"v\": is charts/manifests/vedette.yaml applied?");
        let part = "x \"n\" is forbidden: User \"o\" cannot patch resource \"nodeconfigs/status\" in API group \"vedette.dev\" \
                    at the cluster scope";
        assert!(
            reason(&answer(403, part)).starts_with("o may not patch nodeconfigs.vedette.dev/status at the cluster")
        );
    }

    #[test]
    fn a_connection_that_is_not_made_in_time_is_told_from_one_that_is_refused() {
        let failed = |error: io::Error| reason(&kube::Error::Service(Box::new(error)));
        assert_eq!(failed(io::Error::new(io::ErrorKind::TimedOut, "deadline has elapsed")), "no connection within 10s");
        assert!(failed(io::Error::from_raw_os_error(111)).starts_with("Connection refused"));
        assert!(failed(io::Error::from_raw_os_error(110)).starts_with("Connection timed out"));
    }

    #[test]
    fn a_server_whose_ca_is_unknown_is_told_with_what_is_done_about_it() {
        let error = io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer");
        let said = reason(&kube::Error::Service(Box::new(error)));
        assert!(said.starts_with("no CA that we trust has signed its certificate (invalid peer"), "{said}");
    }

    #[test]
    fn a_policy_speaks_for_itself() {
        let denied =
            "nodeconfigs.vedette.dev \"n\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: not yours";
        assert_eq!(reason(&answer(403, denied)), denied);
    }

    #[test]
    fn a_kind_that_is_not_there_is_told_from_an_object_that_is_not() {
        assert!(reason(&answer(404, "404 page not found")).contains("crds/generated"));
        assert_eq!(
            reason(&answer(404, "nodeconfigs.vedette.dev \"n\" not found")),
            "nodeconfigs.vedette.dev \"n\" not found"
        );
    }

    #[test]
    fn failures_are_told_apart_by_what_is_to_be_done() {
        let schema = "failed to create typed patch object: .status.mood: field not declared in schema";
        assert_eq!(refusal(&answer(500, schema)), Refusal::SchemaOutdated);
        assert_eq!(refusal(&answer(500, "etcdserver: request timed out")), Refusal::Unavailable);
        assert_eq!(refusal(&answer(429, "too many")), Refusal::Unavailable);
        assert_eq!(refusal(&answer(401, "Unauthorized")), Refusal::Unauthorized);
        assert_eq!(refusal(&answer(422, "")), Refusal::Invalid);
        assert_eq!(refusal(&kube::Error::Service("x".into())), Refusal::Unreachable);
    }
}
