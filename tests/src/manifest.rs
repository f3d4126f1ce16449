//! The product's manifests in this tree, as a user applies them: the CRDs, then charts/manifests/vedette.yaml. Reads those
//! files; produces objects in the cluster by server-side apply. Changes nothing in what they say.
use std::{
    fs,
    path::{Path, PathBuf},
};

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams, TypeMeta},
    core::GroupVersionKind,
};
use serde::Deserialize as _;

use crate::error::{Doing as _, Error, Result};

/// The field manager of `kubectl apply --server-side`, which is who a user would be.
const APPLY_MANAGER: &str = "kubectl";

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The custom resource definitions.
pub(crate) fn definitions() -> Result<Vec<DynamicObject>> {
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
pub(crate) fn product() -> Result<Vec<DynamicObject>> {
    read(&tree().join("charts/manifests/vedette.yaml"))
}

/// Applies them in their order, as the given client.
pub(crate) async fn apply(client: &Client, objects: &[DynamicObject]) -> Result<()> {
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
