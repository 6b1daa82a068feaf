{{- define "haldane.name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "haldane" .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-haldane" .Release.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "haldane.selector" -}}
app.kubernetes.io/name: haldane
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "haldane.labels" -}}
{{ include "haldane.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end -}}

{{- define "haldane.account" -}}
{{- if .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create -}}
{{ include "haldane.name" . }}
{{- else -}}
{{ fail "serviceAccount.create is false: name the account that exists in serviceAccount.name" }}
{{- end -}}
{{- end -}}

{{- define "haldane.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* securityContext of every container: Pod Security Standard "restricted" */}}
{{- define "haldane.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end -}}

{{- define "haldane.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/*
The rules of files/role.yaml (a link to deploy/rbac), parted by where they may hold: "work" wherever
Releases are, "own" in the controller's namespace, "cluster" for all
namespaces or not at all.
*/}}
{{- define "haldane.rules" -}}
{{- $wide := list "authentication.k8s.io" "authorization.k8s.io" "apiextensions.k8s.io" -}}
{{- $out := dict "work" list "own" list "cluster" list -}}
{{- range (fromYaml (.Files.Get "files/role.yaml")).rules -}}
{{- $group := first .apiGroups -}}
{{- $part := "work" -}}
{{- if eq $group "coordination.k8s.io" -}}{{- $part = "own" -}}{{- end -}}
{{- if has $group $wide -}}{{- $part = "cluster" -}}{{- end -}}
{{- $_ := set $out $part (append (get $out $part) .) -}}
{{- end -}}
{{- with .Values.rbac.secrets -}}
{{- $rule := dict "apiGroups" (list "") "resources" (list "secrets") "verbs" (list "get" "list" "watch") -}}
{{- if not (has "*" .) -}}{{- $_ := set $rule "resourceNames" . -}}{{- end -}}
{{- $_ := set $out "work" (append (get $out "work") $rule) -}}
{{- end -}}
{{- with .Values.rbac.configMaps -}}
{{- $rule := dict "apiGroups" (list "") "resources" (list "configmaps") "verbs" (list "get" "list" "watch") -}}
{{- if not (has "*" .) -}}{{- $_ := set $rule "resourceNames" . -}}{{- end -}}
{{- $_ := set $out "work" (append (get $out "work") $rule) -}}
{{- end -}}
{{ toYaml $out }}
{{- end -}}
