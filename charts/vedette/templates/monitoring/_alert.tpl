{{/* What all alerts have: labels, and what people read. A text speaks of nodes and rules, never of paths. */}}
{{- define "vedette.alert" -}}
labels:
  severity: {{ .with.severity }}
  {{- with .root.Values.prometheusRule.alertLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
annotations:
  summary: {{ .summary | quote }}
  description: {{ .description | quote }}
  runbook_url: {{ printf "%s/%s.md" (trimSuffix "/" .root.Values.prometheusRule.runbookUrl) .name | quote }}
{{- end }}

{{/* Of all operators the one that leads: what it counts is what it acts by. Takes a metric, and the label that it has more. */}}
{{- define "vedette.leading" -}}
max without (instance, pod, node) ({{ .metric }} and ignoring ({{ .label }}) vedette_operator_leader == 1)
{{- end }}
