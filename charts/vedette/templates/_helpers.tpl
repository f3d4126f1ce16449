{{/* The labels of an object: of a component where one is given. */}}
{{- define "vedette.labels" -}}
{app.kubernetes.io/name: {{ . }}, app.kubernetes.io/part-of: vedette}
{{- end }}

{{/* The release's namespace: 123 and null are names of namespaces too. */}}
{{- define "vedette.namespace" -}}
{{- if not (regexMatch "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" .Release.Namespace) }}
{{- fail (printf "%q is no name of a namespace: give one with --namespace, of lower-case letters, digits and -" .Release.Namespace) }}
{{- end }}
{{- quote .Release.Namespace }}
{{- end }}

{{/* Labels of a component's pods or its nodes: the chart's own come before the user's. */}}
{{- define "vedette.merged" -}}
{{- toYaml (merge .own (default dict .given)) }}
{{- end }}

{{/* The folder of the state. The schema sees to its form; what is wrong with a place needs a sentence. */}}
{{- define "vedette.stateDir" -}}
{{- $dir := .Values.agent.stateDir }}
{{- $system := "^/(bin|boot|dev|etc|home|lib|lib32|lib64|libx32|lost\\+found|proc|root|run|sbin|sys|tmp|usr|var/(lock|run|tmp))(/|$)" }}
{{- $others := "^/var/lib/(kubelet|etcd|containerd|containers|docker|crio|cni|calico|cilium|rancher|k0s|systemd|dbus|dpkg|rpm|apt|pacman|cloud)(/|$)" }}
{{- if or (regexMatch $system $dir) (regexMatch $others $dir) (regexMatch "^/var/[^/]+$" $dir) }}
{{- fail (printf "agent.stateDir %q is not a folder of Vedette's own, and an agent writes there: take one such as /var/lib/vedette, not in /bin /boot /dev /etc /home /lib* /proc /root /run /sbin /sys /tmp /usr /var/lock /var/run /var/tmp, nor in another program's folder in /var/lib, nor directly in /var" $dir) }}
{{- end }}
{{- quote $dir }}
{{- end }}

{{/* What SELinux takes the agents for: no container's usual type may read the host's files. */}}
{{- define "vedette.seLinuxOptions" -}}
{{- $options := .Values.agent.seLinuxOptions }}
{{- if and (not $options) (.Values.openshift).enabled }}{{ $options = dict "type" "spc_t" }}{{ end }}
{{- with $options }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* Taints that operators put up with. */}}
{{- define "vedette.operatorTolerations" -}}
{{- $tolerations := default list .Values.operator.tolerations }}
{{- if .Values.operator.preferControlPlane }}
{{- $tolerations = append $tolerations (dict "key" "node-role.kubernetes.io/control-plane" "operator" "Exists") }}
{{- end }}
{{- with $tolerations }}{{ toYaml . }}{{ end }}
{{- end }}

{{/* What is there while helm test runs, before its pod. */}}
{{- define "vedette.duringCheck" -}}
helm.sh/hook: test
helm.sh/hook-weight: "-1"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
{{- end }}

{{/* The image of a component: by digest where there is one, because a tag can be moved. */}}
{{- define "vedette.image" -}}
{{- $image := .component.image }}
{{- $name := $image.repository }}
{{- with .root.Values.image.registry }}{{ $name = printf "%s/%s" (trimSuffix "/" .) $name }}{{ end }}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}
{{- else }}{{ $name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* The account of a component, as the API server names it. */}}
{{- define "vedette.account" -}}
system:serviceaccount:{{ trimAll "\"" (include "vedette.namespace" .root) }}:{{ .name }}
{{- end }}

{{/* Helm asks what a kind is before it installs anything: a rule beside its definition ends with Helm's own error, which does
not say what to do. A template that is rendered without a cluster, by other tools, has no such order. */}}
{{- define "vedette.presetsNeedTheirKind" -}}
{{- if and (not (.Capabilities.APIVersions.Has "vedette.dev/v1alpha1/DataCollectionRule")) (lookup "v1" "Namespace" "" "kube-system") }}
{{- fail "this cluster does not know the kind DataCollectionRule yet, and presets are of that kind: install without presets first, then helm upgrade with them; or apply crds/generated/ first, and set crds.enabled=false" }}
{{- end }}
{{- end }}
