//! Plans that the state still refers to: what an older one selected decides whether a new name is Added or baselined.

use crate::follow::{Reach, Target};
use crate::page::PlanId;
use crate::plan::{EntryResolution, Plan, PlanSource};
use crate::store::{Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use vedette_crds::node_config::NodeRule;
use xxhash_rust::xxh3::xxh3_64;

/// Older plans, decoded once; `None` for one that the state does not hold any more.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    decoded: Mutex<HashMap<PlanId, Option<Arc<Plan>>>>,
}

impl Plans {
    /// An older plan.
    pub(crate) fn get(&self, store: &Store, id: PlanId) -> Result<Option<Arc<Plan>>, StoreError> {
        let mut decoded = self.decoded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = decoded.get(&id) {
            return Ok(plan.clone());
        }
        let plan = match store.read()?.plan(id)? {
            Some(bytes) => Some(Arc::new(Plan::new(id, decode(&bytes)?))),
            None => None,
        };
        decoded.insert(id, plan.clone());
        Ok(plan)
    }
}

fn rules(source: &PlanSource) -> Result<String, StoreError> {
    serde_json::to_string(&source.rules).map_err(|error| StoreError::damaged(format!("a plan: {error}")))
}

/// A hash of a plan's rules: plans that differ only in where links lead have the same.
pub(crate) fn hash(source: &PlanSource) -> Result<u64, StoreError> {
    rules(source).map(|rules| xxh3_64(rules.as_bytes()))
}

/// The bytes to store for a plan.
pub(crate) fn encode(source: &PlanSource) -> Result<Vec<u8>, StoreError> {
    let rules = rules(source)?;
    let follows: Vec<_> = source.follows.iter().collect();
    postcard::to_stdvec(&(rules, &source.resolutions, follows))
        .map_err(|error| StoreError::damaged(format!("a plan: {error}")))
}

/// The plan in stored bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<PlanSource, StoreError> {
    let damaged = |error: &dyn std::fmt::Display| StoreError::damaged(format!("a plan: {error}"));
    let ((rules, resolutions), rest): ((String, Vec<EntryResolution>), _) =
        postcard::take_from_bytes(bytes).map_err(|error| damaged(&error))?;
    let rules: Vec<NodeRule> = serde_json::from_str(&rules).map_err(|error| damaged(&error))?;
    // An older version followed no links.
    let follows: Vec<(Target, Reach)> =
        if rest.is_empty() { Vec::new() } else { postcard::from_bytes(rest).map_err(|error| damaged(&error))? };
    Ok(PlanSource { rules, resolutions, follows: follows.into_iter().collect() })
}
