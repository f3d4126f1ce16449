//! The product's manifests in this tree, as a user applies them: the CRDs, then charts/manifests/vedette.yaml. Reads those
//! files; produces an installation that acts. Changes nothing in what they say.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, TypeMeta},
    core::GroupVersionKind,
    runtime::{conditions::is_crd_established, wait::Condition as _},
};
use serde::Deserialize as _;
use serde_json::json;

use crate::{
    cluster::{empty_spec, node_config, node_configs_as},
    error::{Doing as _, Error, Result},
    wait::{eventually, not_yet},
};

/// The field manager of `kubectl apply --server-side`, which is who a user would be.
const APPLY_MANAGER: &str = "kubectl";

/// Its name, which the server puts into every denial.
const POLICY: &str = "nodeconfig-status.vedette.dev";

const INSTALLED_WITHIN: Duration = Duration::from_secs(60);

/// Applies the product's manifests and waits until the definitions are served and the admission policy denies.
pub(crate) async fn install(client: &Client) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    eventually("the system namespaces", INSTALLED_WITHIN, async || {
        for name in ["default", "kube-system"] {
            namespaces.get(name).await?;
        }
        Ok(())
    })
    .await?;
    let definitions = definitions()?;
    apply(client, &definitions).await?;
    let served: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in &definitions {
        let name = definition.name_any();
        eventually(&format!("{name} is served"), INSTALLED_WITHIN, async || {
            let found = served.get_opt(&name).await?;
            if is_crd_established().matches_object(found.as_ref()) {
                Ok(())
            } else {
                Err(not_yet(format!("{:?}", found.and_then(|crd| crd.status))))
            }
        })
        .await?;
    }
    apply(client, &product()?).await?;
    policy_acts(client).await
}

/// A policy acts about a second after it was stored: until a write that it forbids is denied, tests prove nothing.
async fn policy_acts(client: &Client) -> Result<()> {
    let probe = "policy-probe";
    let configs = node_configs_as(client.clone());
    let object = node_config(probe, json!({ "spec": empty_spec("none") }));
    let how = PatchParams::apply("vedette-tests").force();
    let status = node_config(probe, json!({ "status": { "trackedItems": 1 } }));
    let dry_run = PatchParams { dry_run: true, ..how.clone() };
    eventually("the admission policy denies", INSTALLED_WITHIN, async || {
        configs.patch(probe, &how, &Patch::Apply(&object)).await?;
        let written = configs.patch_status(probe, &dry_run, &Patch::Apply(&status)).await;
        match written {
            // A server whose admission still starts denies too, with another sentence.
            Err(kube::Error::Api(denied)) if denied.message.contains(POLICY) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(not_yet("an administrator may write a status")),
        }
    })
    .await?;
    configs.delete(probe, &DeleteParams::default()).await.doing(|| format!("delete {probe}"))?;
    Ok(())
}

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The custom resource definitions.
fn definitions() -> Result<Vec<DynamicObject>> {
    let folder = tree().join("crds/generated");
    let entries = fs::read_dir(&folder).doing(|| format!("list {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .doing(|| format!("list {}", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut objects = Vec::new();
    for path in paths {
        objects.extend(read(&path)?);
    }
    objects.retain(|object| kind(object).is_some_and(|kind| kind == "CustomResourceDefinition"));
    if objects.is_empty() {
        let reason = "no CustomResourceDefinition: cargo crdgen writes them".to_owned();
        return Err(Error::Manifest { path: folder, reason });
    }
    Ok(objects)
}

/// Everything else: namespace, accounts, roles, admission policy, operator and agents.
fn product() -> Result<Vec<DynamicObject>> {
    read(&tree().join("charts/manifests/vedette.yaml"))
}

/// Applies them in their order, as the given client.
async fn apply(client: &Client, objects: &[DynamicObject]) -> Result<()> {
    let how = PatchParams::apply(APPLY_MANAGER);
    for object in objects {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        let what = || format!("apply {} {name}", kind(object).unwrap_or("object"));
        let resource = object
            .types
            .as_ref()
            .and_then(|types| GroupVersionKind::try_from(types).ok())
            .map(|kind| ApiResource::from_gvk(&kind))
            .ok_or_else(|| Error::Unexpected(format!("cannot {}: no kind", what())))?;
        let api: Api<DynamicObject> = match &object.metadata.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        };
        api.patch(name, &how, &Patch::Apply(object)).await.doing(what)?;
    }
    Ok(())
}

fn kind(object: &DynamicObject) -> Option<&str> {
    object.types.as_ref().map(|TypeMeta { kind, .. }| kind.as_str())
}

fn read(path: &Path) -> Result<Vec<DynamicObject>> {
    let text = fs::read_to_string(path).doing(|| format!("read {}", path.display()))?;
    let manifest = |error: String| Error::Manifest { path: path.to_owned(), reason: error };
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_multiple(&text).map_err(|error| manifest(error.to_string()))?;
    documents
        .into_iter()
        .map(|document| DynamicObject::deserialize(document).map_err(|error| manifest(error.to_string())))
        .collect()
}
