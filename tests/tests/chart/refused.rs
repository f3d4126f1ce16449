//! What the chart refuses, and what it says then.

use crate::template;

#[test]
fn a_value_that_is_not_there_or_not_possible_is_refused_by_name() {
    for (value, words) in [
        ("agnet.logLevel=info", &["additional properties 'agnet' not allowed"][..]),
        ("agent.loglevel=info", &["/agent", "additional properties 'loglevel' not allowed"]),
        ("agent.budget.cpu=1", &["/agent/budget", "'cpu' not allowed"]),
        ("agent.image.digset=x", &["/agent/image", "'digset' not allowed"]),
        ("agent.tolerations[0].opertor=Exists", &["/agent/tolerations/0", "'opertor' not allowed"]),
        ("agent.resources.limit.memory=1Gi", &["/agent/resources", "'limit' not allowed"]),
        ("agent.budget.cpuLimit=0", &["/agent/budget/cpuLimit"]),
        ("image.tag=2", &["/image/tag", "want string"]),
        ("agent.logLevel=trace", &["/agent/logLevel", "'error', 'warn', 'info', 'debug'"]),
        ("agent.records=/var/log/vedette", &["/agent/records", "'stdout', 'none'"]),
        ("agent.stateDir=var/lib", &["/agent/stateDir", "does not match pattern"]),
        ("agent.stateDir=/", &["/agent/stateDir", "does not match pattern"]),
        ("agent.stateDir=/vedette", &["/agent/stateDir", "does not match pattern"]),
        ("agent.stateDir=/var/lib/../../etc", &["/agent/stateDir", "does not match pattern"]),
        ("agent.stateDir=/var/lib", &["agent.stateDir \"/var/lib\"", "take one such as /var/lib/vedette"]),
        ("agent.stateDir=/etc/vedette", &["agent.stateDir \"/etc/vedette\"", "not in /bin /boot /dev /etc"]),
        ("agent.stateDir=/var/lib/kubelet/vedette", &["another program's folder in /var/lib"]),
        ("agent.stateDir=/run/vedette", &["/run /sbin"]),
        ("agent.journalMax=256MiB", &["/agent/journalMax", "does not match pattern"]),
        ("agent.maxUnavailable=0", &["/agent/maxUnavailable"]),
        ("agent.maxUnavailable=0%", &["/agent/maxUnavailable"]),
        ("agent.maxUnavailable=101%", &["/agent/maxUnavailable"]),
        ("agent.seLinuxOptions.typ=spc_t", &["/agent/seLinuxOptions", "'typ' not allowed"]),
        ("image.registry=https://registry.example.com", &["/image/registry", "does not match pattern"]),
        ("agent.image.repository=vedette-agent:1", &["/agent/image/repository", "does not match pattern"]),
        ("openshift.enable=true", &["/openshift", "'enable' not allowed"]),
        ("agent.image.digest=sha256:abc", &["/agent/image/digest", "does not match pattern"]),
        ("operator.replicas=0", &["/operator/replicas", "minimum"]),
        ("operator.replicas=two", &["/operator/replicas", "want integer"]),
        ("crds=true", &["/crds", "want object"]),
        ("presets={linux}", &["/presets/0", "'linux-baseline', 'kubernetes-node', 'etc'"]),
        ("presets={etc,etc}", &["/presets", "equal"]),
        ("networkPolicy.apiServerPorts={}", &["/networkPolicy/apiServerPorts"]),
        ("metrics.tls=true", &["/metrics", "'tls' not allowed"]),
        ("metrics.readers[0].name=prometheus", &["/metrics/readers/0", "missing property 'namespace'"]),
        ("metrics.secure=true,podMonitor.enabled=true", &["enable serviceMonitor in its place"]),
        ("serviceMonitor.enabled=true,podMonitor.enabled=true", &["enable one of them"]),
        (
            "networkPolicy.metricsFrom[0].namespace=monitoring",
            &["/networkPolicy/metricsFrom/0", "'namespace' not allowed"],
        ),
    ] {
        let refused = template(&["--set", value]);
        assert!(!refused.success, "{value} was taken");
        for word in words {
            assert!(refused.errors.contains(word), "{value}: no {word:?} in {}", refused.errors);
        }
    }
}

#[test]
fn an_older_cluster_is_refused_by_its_version() {
    let refused = template(&["--kube-version", "1.32.9"]);
    assert!(!refused.success);
    assert!(refused.errors.contains("requires kubeVersion: >=1.33.0-0"), "{}", refused.errors);
    // As EKS and GKE call theirs.
    for taken in ["1.33.0", "1.33.1-eks-595af52", "1.34.0-gke.100"] {
        let taken_in = template(&["--kube-version", taken]);
        assert!(taken_in.success, "{taken}: {}", taken_in.errors);
    }
}
