//! The names that operator, agents and manifests agree on.

/// Field manager, application and account of the operator.
pub(crate) const OPERATOR: &str = "vedette-operator";

/// Field manager, application and account of agents.
pub(crate) const AGENT: &str = "vedette-agent";

/// Selects the agents' pods.
pub(crate) const AGENT_PODS: &str = "app.kubernetes.io/name=vedette-agent";

/// The group and version of our kinds.
pub(crate) const API_VERSION: &str = "vedette.dev/v1alpha1";

/// What admins write.
pub(crate) const RULE: &str = "DataCollectionRule";

/// What one node is to watch.
pub(crate) const NODE_CONFIG: &str = "NodeConfig";
