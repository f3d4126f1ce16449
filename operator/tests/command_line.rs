//! The binary's own words and exit codes, where no cluster is needed.
#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Command, Output};

fn operator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vedette-operator"))
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

/// Exit code and standard error.
fn trouble(arguments: &[&str]) -> (Option<i32>, String) {
    let output = operator(arguments);
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_command_line_that_says_too_little_is_trouble() {
    let (code, said) = trouble(&["run", "--listen"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("--listen"), "{said}");
    let help = String::from_utf8(operator(&["run", "--help"]).stdout).unwrap();
    assert!(help.contains("[default: [::]:8080]"), "{help}");
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named_and_the_reason_is_given_once() {
    let (code, said) = trouble(&["run", "--listen", "127.0.0.1:0", "--kubeconfig", "/nonexistent/config"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("cannot use the kubeconfig /nonexistent/config"), "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "{said}");
}

#[test]
fn without_any_cluster_it_says_so() {
    let (code, said) = trouble(&["run", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("cannot find the API server"), "{said}");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = trouble(&["run", "--listen", &address]);
    assert_eq!(code, Some(2));
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
}

#[test]
fn a_flag_that_it_does_not_know_is_trouble_and_a_near_one_is_named() {
    let (code, said) = trouble(&["run", "--listn", "127.0.0.1:0"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("unexpected argument '--listn' found") && said.contains("'--listen'"), "{said}");
}

#[test]
fn an_address_that_is_none_is_trouble_and_one_is_shown() {
    for address in ["", "8080", "localhost:8080", "127.0.0.1", "127.0.0.1:99999"] {
        let (code, said) = trouble(&["run", &format!("--listen={address}")]);
        assert_eq!(code, Some(2), "{address}");
        let shown = said.contains("for example 127.0.0.1:8080") || said.contains("a value is required");
        assert!(shown, "{said}");
    }
}

#[test]
fn no_part_of_a_kubeconfig_is_shown() {
    let file = std::env::temp_dir().join(format!("vedette-kubeconfig-{}", std::process::id()));
    std::fs::write(&file, "apiVersion: v1\nusers: [{name: a, user: {token: s3cr3t\n").unwrap();
    let (code, said) = trouble(&["run", "--listen", "127.0.0.1:0", "--kubeconfig", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(code, Some(2));
    assert!(said.contains("cannot use the kubeconfig") && !said.contains("s3cr3t"), "{said}");
}

#[test]
fn a_check_that_cannot_look_is_trouble_and_a_time_that_is_none_is_named() {
    let (code, said) = trouble(&["check"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("cannot look: cannot find the API server"), "{said}");
    let (code, said) = trouble(&["check", "--within=soon"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("'soon'") && said.contains("--within"), "{said}");
}
