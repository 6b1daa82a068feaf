package render

import (
	"maps"
	"slices"
)

func deployment(a App) document {
	spec := object{
		"selector": object{"matchLabels": a.labels()},
		"template": object{"metadata": a.podMetadata(), "spec": a.pod()},
	}
	comment := "The application. Change it as you always do: a changed template starts a run of the Release below."
	if a.MaxReplicas > a.Replicas {
		comment += "\n# replicas is the autoscaler's."
	} else {
		spec["replicas"] = a.Replicas
	}
	d := a.head("apps/v1", "Deployment")
	d["spec"] = spec
	return document{comment, d}
}

func (a App) podMetadata() object {
	labels := a.labels()
	meta := object{"labels": labels}
	switch a.Router {
	case "istio":
		labels["sidecar.istio.io/inject"] = "true"
	case "linkerd":
		meta["annotations"] = object{"linkerd.io/inject": "enabled"}
	}
	return meta
}

// pod is admitted by the Pod Security Standard "restricted".
func (a App) pod() object {
	security := object{"runAsNonRoot": true, "seccompProfile": object{"type": "RuntimeDefault"}}
	if a.User > 0 {
		security["runAsUser"] = a.User
	}
	return object{
		"automountServiceAccountToken":  false,
		"terminationGracePeriodSeconds": 30,
		"securityContext":               security,
		"topologySpreadConstraints": list{object{
			"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
			"labelSelector": object{"matchLabels": a.labels()}, "matchLabelKeys": list{"pod-template-hash"},
		}},
		"containers": list{a.container()},
		"volumes":    list{object{"name": "tmp", "emptyDir": object{}}},
	}
}

func (a App) container() object {
	c := object{
		"name":  a.Name,
		"image": a.Image,
		"ports": list{object{"name": a.Protocol, "containerPort": a.Port}},
		// The container is up within a minute; leaves the traffic after 4 s without
		// an answer, and is started again after a minute without one.
		"startupProbe":   a.probe(1, 60),
		"readinessProbe": a.probe(2, 2),
		"livenessProbe":  a.probe(10, 6),
		// Routers hear of the end before the program does.
		"lifecycle": object{"preStop": object{"sleep": object{"seconds": 5}}},
		"resources": object{
			"requests": object{"cpu": a.CPU, "memory": a.Memory},
			"limits":   object{"memory": a.Memory},
		},
		"securityContext": object{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
			"capabilities": object{"drop": list{"ALL"}},
		},
		"volumeMounts": list{object{"name": "tmp", "mountPath": "/tmp"}},
	}
	env := list{}
	for _, name := range slices.Sorted(maps.Keys(a.Env)) {
		env = append(env, object{"name": name, "value": a.Env[name]})
	}
	if len(env) > 0 {
		c["env"] = env
	}
	return c
}

func (a App) probe(period, failures int) object {
	p := object{"periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": min(period, 2)}
	if a.Protocol == "grpc" {
		p["grpc"] = object{"port": a.Port}
	} else {
		p["httpGet"] = object{"path": a.Probe, "port": a.Protocol}
	}
	return p
}

func service(a App) document {
	port := object{"name": a.Protocol, "port": a.servicePort(), "targetPort": a.Protocol}
	if a.Protocol == "grpc" {
		port["appProtocol"] = "grpc"
		if a.Router == "gatewayapi" {
			port["appProtocol"] = "kubernetes.io/h2c"
		}
	}
	s := a.head("v1", "Service")
	s["spec"] = object{"selector": a.labels(), "ports": list{port}}
	return document{"Its address inside the cluster.", s}
}

func (a App) servicePort() int {
	if a.Protocol == "grpc" {
		return a.Port
	}
	return 80
}

func autoscaler(a App) document {
	h := a.head("autoscaling/v2", "HorizontalPodAutoscaler")
	h["spec"] = object{
		"scaleTargetRef": object{"apiVersion": "apps/v1", "kind": "Deployment", "name": a.Name},
		"minReplicas":    a.Replicas, "maxReplicas": a.MaxReplicas,
		"metrics": list{object{"type": "Resource", "resource": object{
			"name": "cpu", "target": object{"type": "Utilization", "averageUtilization": 70}}}},
	}
	return document{"Its number of instances; it goes on working during a run.", h}
}

func budget(a App) document {
	b := a.head("policy/v1", "PodDisruptionBudget")
	b["spec"] = object{"maxUnavailable": 1, "selector": object{"matchLabels": a.labels()}}
	return document{"Nodes are emptied one instance at a time.", b}
}
