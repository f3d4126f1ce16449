//! `kubectl vedette` against what is installed: what only real pods have, logs to read and agents to ask.
use crate::scene::Scene;
use serde_json::Value;
use std::{
    io::Write as _,
    os::unix::fs::symlink,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;
use vedette_tests::products;

/// A shell of the administrator with kubectl and the plugin in its PATH.
struct Shell<'s> {
    scene: &'s Scene,
    folder: TempDir,
}

impl<'s> Shell<'s> {
    async fn new(scene: &'s Scene) -> Self {
        let folder = tempfile::tempdir().unwrap();
        symlink(scene.cluster.kubectl().get_program(), folder.path().join("kubectl")).unwrap();
        symlink(&products().await.unwrap().kubectl_vedette, folder.path().join("kubectl-vedette")).unwrap();
        Self { scene, folder }
    }

    fn runs(&self, words: &[&str]) -> (Output, String, String) {
        let mut command = Command::new(self.folder.path().join("kubectl"));
        command.arg("vedette").args(words).env("PATH", self.folder.path());
        let output = command.env("KUBECONFIG", self.scene.cluster.kubeconfig()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, errors) = (text(&output.stdout), text(&output.stderr));
        (output, out, errors)
    }
}

/// The last change of /etc/passwd on n1, of this size, is there: in short, and as the whole record from the log of the agent's
/// pod, in a chain that verifies. The agent answers why.
pub(crate) async fn tells(scene: &Scene, size: usize) {
    let shell = Shell::new(scene).await;
    let (_, short, errors) = shell.runs(&["changes", "--node", "n1", "--path", "/etc/passwd"]);
    assert!(short.lines().last().unwrap().contains("n1     Modified   High"), "{short}{errors}");

    let (output, records, errors) = shell.runs(&["changes", "--full", "--node", "n1", "--path", "/etc/passwd"]);
    assert!(output.status.success(), "{errors}");
    let last: Value = serde_json::from_str(records.lines().last().unwrap_or_else(|| panic!("{errors}"))).unwrap();
    assert_eq!((&last["path"], &last["after"]["size"]), (&Value::from("/etc/passwd"), &Value::from(size)));
    let (output, none, errors) = shell.runs(&["changes", "--full", "--node", "n1", "--rule", "another"]);
    assert!(output.status.success(), "{errors}");
    assert_eq!((none.as_str(), errors.as_str()), ("", ""));
    let (output, whole, errors) = shell.runs(&["changes", "--full", "--node", "n1"]);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "", "none of it is missing");
    let mut verify = Command::new(&products().await.unwrap().agent);
    let mut verify = verify.args(["verify", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    verify.stdin.take().unwrap().write_all(whole.as_bytes()).unwrap();
    let verified = verify.wait_with_output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}: {whole}");

    let (output, answer, errors) = shell.runs(&["explain", "n1", "/etc/passwd", "--ask-agent"]);
    assert!(output.status.success(), "{errors}");
    assert!(answer.starts_with("/etc/passwd is tracked\n") && answer.contains("  last looked at "), "{answer}");
    let (_, by_names, _) = shell.runs(&["explain", "n1", "/etc/passwd"]);
    assert!(by_names.starts_with("/etc/passwd is selected on n1\n"), "{by_names}");
}
