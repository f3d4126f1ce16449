{{/* What an agent would refuse at its start, on every node, is refused here. The schema sees to the form, and names the value. */}}

{{/* A size of at least 1Mi. Takes the name of the value, and the value. */}}
{{- define "vedette.size" -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- if ne .value "none" }}
{{- $bytes := mulf (regexFind "^[0-9]+" .value) (get $units (regexFind "[A-Za-z]*$" .value)) }}
{{- if lt $bytes 1048576.0 }}
{{- fail (printf "%s %q is less than an agent can work with: write a size of at least 1Mi, such as 64Mi" .name .value) }}
{{- end }}
{{- end }}
{{- .value }}
{{- end }}

{{/* Cores, as Kubernetes writes them. */}}
{{- define "vedette.cores" -}}
{{- $said := toString .value }}
{{- if ne $said "none" }}
{{- $cores := mulf (trimSuffix "m" $said) (ternary 0.001 1.0 (hasSuffix "m" $said)) }}
{{- if or (lt $cores 0.01) (gt $cores 1000000.0) }}
{{- fail (printf "%s %q is not what an agent can work with: write cores from 10m to 1000000, such as 500m, or none" .name $said) }}
{{- end }}
{{- end }}
{{- $said }}
{{- end }}
