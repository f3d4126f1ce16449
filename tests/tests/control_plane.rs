//! The control plane itself: it comes back with its data, several run side by side, and nothing is left of it.
#![allow(clippy::unwrap_used)]
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use serde_json::json;
use vedette_tests::{ControlPlane, Result, eventually};

#[tokio::test]
async fn an_api_server_that_was_taken_away_comes_back_with_its_data() -> Result<()> {
    let control_plane = ControlPlane::start().await?;
    let kept: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "kept" } })).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(control_plane.client(), "default");
    eventually("a config map is taken", Duration::from_secs(30), async || {
        Ok(maps.create(&PostParams::default(), &kept).await?)
    })
    .await?;
    let url = control_plane.url().to_owned();
    control_plane.stop_apiserver().await?;
    assert!(maps.get("kept").await.is_err(), "nobody answers");
    control_plane.start_apiserver().await?;
    assert_eq!(control_plane.url(), url);
    maps.get("kept").await.unwrap();
    Ok(())
}

#[tokio::test]
async fn control_planes_run_side_by_side_and_leave_nothing() -> Result<()> {
    let (one, other) = tokio::try_join!(ControlPlane::start(), ControlPlane::start())?;
    assert_ne!(one.url(), other.url());
    let folder = one.folder("")?;
    drop(one);
    assert!(!folder.exists(), "its data goes with it");
    other.client().apiserver_version().await.unwrap();
    Ok(())
}
