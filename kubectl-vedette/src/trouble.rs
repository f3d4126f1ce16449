//! What ends a command, as a sentence that says what to do.

use kube::config::KubeconfigError;
use std::path::PathBuf;
use vedette_service::{MissingRight, deepest, is_no_kind, missing_right};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The kubeconfig cannot be used. What a parser says of the file behind its first line shows pieces of it, and secrets are in them.
    #[error("cannot use the kubeconfig{}: {said}", path.as_ref().map(|path| format!(" {}", path.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file, if one was named.
        path: Option<PathBuf>,
        /// What is wrong.
        said: String,
    },
    /// The API server did not do what it was asked.
    #[error("cannot {what} at {url}: {}", why(.source))]
    Asked {
        /// What it was asked for, as in `list NodeConfigs`.
        what: String,
        /// Where it is.
        url: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// It did not answer.
    #[error("cannot {what} at {url}: no answer within {seconds} s")]
    Silent {
        /// What it was asked for.
        what: String,
        /// Where it is.
        url: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// Anything else; the sentence says it all.
    #[error("{0}")]
    Said(String),
    /// What cannot be read or written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What failed.
        what: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Trouble {
    /// A sentence that says it all.
    pub(crate) fn said(sentence: impl Into<String>) -> Self {
        Self::Said(sentence.into())
    }

    /// What a kubeconfig lacks.
    pub(crate) fn kubeconfig(path: Option<&PathBuf>, error: &KubeconfigError) -> Self {
        let said = match error {
            KubeconfigError::ReadConfig(source, file) if path.is_some_and(|path| path == file) => source.to_string(),
            KubeconfigError::ReadConfig(source, file) => format!("{}: {source}", file.display()),
            error => deepest(error).to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let said = if path.is_none() { format!("{said}: give one with --kubeconfig") } else { said };
        Self::Kubeconfig { path: path.cloned(), said }
    }

    /// Whether it is an output that nobody reads any more.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Why a request failed, and what to do where that is known.
pub(crate) fn why(error: &kube::Error) -> String {
    let status = match error {
        kube::Error::Api(status) => status,
        kube::Error::Service(source) => {
            return format!("{}. Is the cluster up, and is it the right one (--context)?", deepest(source.as_ref()));
        }
        other => return deepest(other).to_string(),
    };
    let message = status.message.trim();
    match status.code {
        401 => "it does not know you (401 Unauthorized): log in again, or choose who you are with --context or --user"
            .to_owned(),
        403 => missing_right(message).as_ref().map_or_else(|| message.to_owned(), help),
        404 if is_no_kind(message) => {
            "this cluster has no such kind: is Vedette installed there (docs/install.md), and is it the right cluster (--context)?"
                .to_owned()
        }
        404 => message.to_owned(),
        code => format!("it answers {code}: {message}"),
    }
}

/// Who lacks which right, and the role that has it.
fn help(right: &MissingRight<'_>) -> String {
    let MissingRight { verb, resource, group, .. } = right;
    match *group {
        "vedette.dev" => format!("{right}: ask to be bound to the ClusterRole vedette-viewer"),
        _ => format!("{right}: ask for a Role with {verb} on {resource}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answer(code: u16, message: &str) -> String {
        why(&kube::Error::Api(Status::failure(message, "").with_code(code).boxed()))
    }

    #[test]
    fn a_missing_right_names_the_role_that_has_it() {
        let said = answer(
            403,
            "nodeconfigs.vedette.dev is forbidden: User \"jane\" cannot list resource \"nodeconfigs\" in API group \
             \"vedette.dev\" at the cluster scope",
        );
        assert_eq!(
            said,
            "jane may not list nodeconfigs.vedette.dev at the cluster scope: ask to be bound to the ClusterRole vedette-viewer"
        );
        let said = answer(
            403,
            "pods is forbidden: User \"jane\" cannot get resource \"pods/log\" in API group \"\" in the namespace \"v\": RBAC: x",
        );
        assert_eq!(said, "jane may not get pods/log in the namespace \"v\": ask for a Role with get on pods/log");
    }

    #[test]
    fn a_cluster_without_vedette_is_told_from_an_object_that_is_not_there() {
        assert!(answer(404, "404 page not found").contains("is Vedette installed there"));
        assert_eq!(answer(404, "nodeconfigs.vedette.dev \"n\" not found"), "nodeconfigs.vedette.dev \"n\" not found");
        assert!(answer(401, "Unauthorized").contains("log in again"));
    }
}
