//! What a compare stands on: the host root, which has to be the one that the state is of, and the plan of the rules as the
//! host is now.

use crate::adopt::{Adoption, Barred, Resolution, resolve};
use crate::engine::{Engine, EngineError};
use crate::host::HostRoot;
use crate::meta::Meta;
use crate::mounts::Mounts;
use crate::newcomers::Newcomers;
use crate::page::PlanId;
use crate::plan::{Plan, PlanSource};
use crate::plans;
use crate::store::StoreError;
use crate::suspend::hold;
use crate::volumes::identity;
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;

impl Engine {
    /// Opened anew: the old descriptor would go on showing what was mounted before.
    pub(crate) fn open_host_root(&mut self) -> Result<(), EngineError> {
        self.host = Arc::new(HostRoot::open(&self.settings.host_root).map_err(|errno| self.no_host_root(errno))?);
        Ok(())
    }

    fn no_host_root(&self, errno: Errno) -> EngineError {
        EngineError::HostRoot { path: self.settings.host_root.clone(), source: errno.into() }
    }

    /// From here on nothing is touched that comes to be mounted and may never answer; `table` watches since before the
    /// mounts were read.
    pub(crate) fn guard_host_root(&mut self, table: File, mounts: &Arc<Mounts>) -> Result<(), EngineError> {
        let path = &self.settings.host_root;
        let host = HostRoot::open(path).map_err(|errno| self.no_host_root(errno))?;
        self.host = Arc::new(host.guarded(Newcomers::new(table, path.clone(), mounts)));
        Ok(())
    }

    pub(crate) fn check_host_root(&mut self, mounts: &Mounts) -> Result<(), EngineError> {
        self.open_host_root()?;
        let stat = self.host.stat().map_err(|errno| self.no_host_root(errno))?;
        let found =
            mounts.get(stat.stx_mnt_id).map(|mount| String::from_utf8_lossy(&identity(mount, &stat)).into_owned());
        // Mounted between the two reads, or from outside of this process's root.
        let unlisted = || EngineError::Mounts(std::io::Error::other("it does not list what the host root lies on"));
        let found = found.ok_or_else(unlisted)?;
        match &self.meta.host_root {
            Some(known) if *known == found => Ok(()),
            None => {
                self.meta.host_root = Some(found);
                Ok(())
            }
            Some(_) => Err(EngineError::HostRootChanged {
                path: self.settings.host_root.clone(),
                state: self.settings.state_dir.clone(),
            }),
        }
    }

    /// The plan of the rules as the host is now; it comes into force when it differs from the one that is.
    pub(crate) fn adopt_plan(&mut self, mounts: &Mounts) -> Result<(Arc<Plan>, Vec<Barred>), EngineError> {
        let in_force = match &self.plan {
            Some(plan) => Some((plan.id, plan.source.clone())),
            None => self.stored_plan(self.meta.plan)?,
        };
        let mut compared = match (&in_force, self.meta.complete) {
            (Some((id, source)), Some(complete)) if *id == complete => Some(source.clone()),
            (_, complete) => self.stored_plan(complete)?.map(|(_, source)| source),
        };
        let mut rules = match (&self.rules, &in_force) {
            (Some(rules), _) => rules.clone(),
            (None, Some((_, source))) => source.rules.clone(),
            (None, None) => Vec::new(),
        };
        self.holds = hold(&mut rules, &self.meta);
        if let Some(compared) = &mut compared {
            self.meta.live(&*self.clock);
            let Meta { plans, complete, forgotten_before, .. } = &self.meta;
            for held in plans.iter().filter(|held| Some(held.plan) > *complete && held.since < *forgotten_before) {
                if let Some(later) = self.plans.get(&self.store, held.plan)? {
                    compared.forget_what_left_with(&later.source);
                }
            }
        }
        let source = in_force.as_ref().map(|(_, source)| source);
        let follows = self.follows.clone().or_else(|| source.map(|source| source.follows.clone())).unwrap_or_default();
        let Resolution { source: resolved, barred } =
            resolve(rules.clone(), &self.host, mounts, source, compared.as_ref(), &follows)
                .map_err(|errno| self.no_host_root(errno))?;
        let same = source == Some(&resolved);
        let id = match self.meta.plan {
            Some(id) if same => id,
            Some(id) => id + 1,
            None => 1,
        };
        let plan = match &self.plan {
            Some(plan) if same => Arc::clone(plan),
            _ => Arc::new(Plan::new(id, resolved)),
        };
        if !same {
            let before = match (&self.plan, in_force) {
                (Some(plan), _) => Some(Arc::clone(plan)),
                (None, in_force) => in_force.map(|(id, source)| Arc::new(Plan::new(id, source))),
            };
            let adoption = Adoption {
                store: &self.store,
                host: &self.host,
                mounts,
                volumes: &self.volumes,
                plans: &self.plans,
                identity: &self.identity,
                clock: &*self.clock,
                plan: &plan,
                before,
            };
            self.meta = adoption.adopt(&self.meta)?;
        }
        self.plan = Some(Arc::clone(&plan));
        self.planned = Some(rules);
        Ok((plan, barred))
    }

    pub(crate) fn stored_plan(&self, id: Option<PlanId>) -> Result<Option<(PlanId, PlanSource)>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        let bytes = self.store.read()?.plan(id)?;
        bytes.map(|bytes| plans::decode(&bytes).map(|source| (id, source))).transpose()
    }
}
