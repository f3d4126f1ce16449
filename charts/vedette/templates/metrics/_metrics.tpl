{{/* How the pages of both components are served. Values of an older release have none of it. */}}
{{- define "vedette.guarding" -}}
{{- with .Values.metrics }}
{{- if .secure }}
- --secure-metrics
{{- with .audience }}
- {{ printf "--metrics-audience=%s" . | quote }}
{{- end }}
{{- if .tlsSecret }}
- --tls-dir=/etc/vedette/tls
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What asks a component how it is. */}}
{{- define "vedette.probe" -}}
{path: {{ .path }}, port: metrics{{ if (.root.Values.metrics).secure }}, scheme: HTTPS{{ end }}}
{{- end }}

{{/* The name of the Secret that the certificate is in, if one is. */}}
{{- define "vedette.tlsSecret" -}}
{{- with .Values.metrics }}{{ if .secure }}{{ .tlsSecret }}{{ end }}{{ end }}
{{- end }}
