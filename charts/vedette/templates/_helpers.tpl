{{/* The labels of an object: of a component where one is given. */}}
{{- define "vedette.labels" -}}
{app.kubernetes.io/name: {{ . }}, app.kubernetes.io/part-of: vedette}
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
system:serviceaccount:{{ .root.Release.Namespace }}:{{ .name }}
{{- end }}

{{/* Helm asks what a kind is before it installs anything: a rule beside its definition ends with Helm's own error, which does
not say what to do. A template that is rendered without a cluster, by other tools, has no such order. */}}
{{- define "vedette.presetsNeedTheirKind" -}}
{{- if and (not (.Capabilities.APIVersions.Has "vedette.dev/v1alpha1/DataCollectionRule")) (lookup "v1" "Namespace" "" "kube-system") }}
{{- fail "this cluster does not know the kind DataCollectionRule yet, and presets are of that kind: install without presets first, then helm upgrade with them; or apply crds/generated/ first, and set crds.enabled=false" }}
{{- end }}
{{- end }}
