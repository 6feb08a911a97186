{{/*
The name of the installation: its objects, its lease and its Secrets begin with it. With the longest suffix it fits into 63 characters, where
labels, hosts' names and Services' names end.
*/}}
{{- define "enlace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels that select a component's pods. They can never change. Takes (dict "root" $ "component" "api"). */}}
{{- define "enlace.selectorLabels" -}}
app.kubernetes.io/name: enlace
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The labels of each object. Takes the same. */}}
{{- define "enlace.labels" -}}
{{ include "enlace.selectorLabels" . }}
app.kubernetes.io/part-of: enlace
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The reference of an image. Takes (dict "root" $ "image" .Values.operator.image). */}}
{{- define "enlace.image" -}}
{{- $repository := .image.repository -}}
{{- with .root.Values.image.registry -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $repository -}}
{{- end -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What every pod of the installation is allowed: the restricted Pod Security level. */}}
{{- define "enlace.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "enlace.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The metadata of a pod. Takes (dict "root" $ "component" "api" "pod" .Values.api.pod); ours come last, so that nobody replaces them. */}}
{{- define "enlace.podLabels" -}}
{{- $ours := fromYaml (include "enlace.labels" .) -}}
{{- toYaml (merge $ours .pod.labels) -}}
{{- end -}}

{{/* Where a pod may run. Takes the same; without an affinity of the user's, replicas prefer different nodes. */}}
{{- define "enlace.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- /* Without a selector a constraint would count no pod. */}}
  {{- $selector := dict "matchLabels" (fromYaml (include "enlace.selectorLabels" $)) }}
  {{- range . }}
  - {{- toYaml (merge (deepCopy .) (dict "labelSelector" $selector)) | nindent 4 }}
  {{- end }}
{{- end }}
affinity:
{{- if .pod.affinity }}
  {{- toYaml .pod.affinity | nindent 2 }}
{{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "enlace.selectorLabels" . | nindent 14 }}
{{- end }}
{{- end -}}
