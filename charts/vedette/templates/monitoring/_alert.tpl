{{/* What all alerts have: labels, and what people read. A text speaks of nodes and rules, never of paths. */}}
{{- define "vedette.alert" -}}
labels:
  {{- include "vedette.merged" (dict "own" (dict "severity" .with.severity) "given" .root.Values.prometheusRule.alertLabels) | nindent 2 }}
annotations:
  summary: {{ .summary | quote }}
  description: {{ .description | quote }}
  runbook_url: {{ printf "%s/%s.md" (trimSuffix "/" .root.Values.prometheusRule.runbookUrl) .name | quote }}
{{- end }}

{{/* Of all operators the one that leads: what it counts is what it acts by. Takes a metric, and the label that it has more. */}}
{{- define "vedette.leading" -}}
max without (instance, pod, node) ({{ .metric }} and ignoring ({{ .label }}) vedette_operator_leader{job="vedette-operator"} == 1)
{{- end }}

{{/* A series of the node, not of the pod, so that it goes on when the pod is replaced. Without a label for the node, pods are not
told from nodes. Takes a metric of agents, and which of two pods counts while both are there: max or min. */}}
{{- define "vedette.ofNode" -}}
{{ .of }} without (instance, pod) ({{ .metric }}{job="vedette-agent", node!=""}) or {{ .metric }}{job="vedette-agent", node=""}
{{- end }}
