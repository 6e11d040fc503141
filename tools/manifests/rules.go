package manifests

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The user of the image (Dockerfile.arm64).
const user = 65532

// The node's own deadline for an orderly stop. Kubernetes kills what has not stopped in the grace period.
const stopDeadlineSeconds = 10

const (
	statePath   = "/var/lib/magpie"
	runPath     = "/run/magpie"
	busResource = "magpie/i2c"
)

// A rule looks at the pods of one workload and says what is wrong with them, if anything.
type rule func(pod corev1.PodSpec) []string

var rules = []rule{
	runsAsNobody,
	hasNoPowers,
	seesLittleOfTheMachine,
	talksToNoAPI,
	isProbed,
	isBounded,
	stopsInTime,
	isNamedAfterItsMachine,
	sparesTheCard,
}

// check applies the rules to every workload among the objects, and looks at what lies between objects.
func check(objects []any, rules []rule) []string {
	var problems []string
	var workloads int
	for _, object := range objects {
		switch object := object.(type) {
		case *corev1.ServiceAccount:
			if !isFalse(object.AutomountServiceAccountToken) {
				problems = append(problems, "the service account's token is mounted into pods")
			}
		case *appsv1.DaemonSet:
			workloads++
			for _, rule := range rules {
				problems = append(problems, rule(object.Spec.Template.Spec)...)
			}
			problems = append(problems, refersToWhatIsThere(object.Spec.Template.Spec, objects)...)
		}
	}
	if workloads == 0 {
		problems = append(problems, "no workload in it")
	}
	return problems
}

func runsAsNobody(pod corev1.PodSpec) []string {
	context := pod.SecurityContext
	if context == nil {
		return []string{"no security context: the pod runs as whoever the image says, root included"}
	}
	var problems []string
	if context.RunAsNonRoot == nil || !*context.RunAsNonRoot {
		problems = append(problems, "may run as root")
	}
	if context.RunAsUser == nil || *context.RunAsUser != user || context.RunAsGroup == nil || *context.RunAsGroup != user {
		problems = append(problems, fmt.Sprintf("user and group are not %d, the image's", user))
	}
	if context.SeccompProfile == nil || context.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		problems = append(problems, "seccomp profile is not the runtime's default")
	}
	return problems
}

func hasNoPowers(pod corev1.PodSpec) []string {
	var problems []string
	if len(pod.InitContainers) > 0 {
		problems = append(problems, "has init containers: the rules here do not look at them")
	}
	for _, container := range pod.Containers {
		context := container.SecurityContext
		if context == nil {
			context = new(corev1.SecurityContext)
		}
		if context.Privileged != nil && *context.Privileged {
			problems = append(problems, container.Name+": privileged")
		}
		if !isFalse(context.AllowPrivilegeEscalation) {
			problems = append(problems, container.Name+": privilege escalation is allowed")
		}
		if context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
			problems = append(problems, container.Name+": root filesystem is writable")
		}
		if context.Capabilities == nil || len(context.Capabilities.Add) > 0 ||
			!slices.Contains(context.Capabilities.Drop, "ALL") {
			problems = append(problems, container.Name+": capabilities are not all dropped")
		}
		if context.RunAsUser != nil || context.RunAsNonRoot != nil || context.SeccompProfile != nil {
			problems = append(problems, container.Name+": overrides the pod's user or seccomp profile")
		}
	}
	return problems
}

func seesLittleOfTheMachine(pod corev1.PodSpec) []string {
	var problems []string
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		problems = append(problems, "shares a namespace with the machine")
	}
	for _, volume := range pod.Volumes {
		if volume.HostPath != nil && volume.HostPath.Path != statePath {
			problems = append(problems, "hostPath of "+volume.HostPath.Path+": only "+statePath+" is allowed")
		}
	}
	return problems
}

func talksToNoAPI(pod corev1.PodSpec) []string {
	var problems []string
	if !isFalse(pod.AutomountServiceAccountToken) {
		problems = append(problems, "a token of the Kubernetes API is mounted")
	}
	if !isFalse(pod.EnableServiceLinks) {
		problems = append(problems, "service links are on: their MAGPIE_ variables would be taken for settings")
	}
	return problems
}

func isProbed(pod corev1.PodSpec) []string {
	var problems []string
	for _, container := range pod.Containers {
		for _, probe := range []struct {
			name  string
			probe *corev1.Probe
			path  string
		}{
			{"startup", container.StartupProbe, "/livez"},
			{"liveness", container.LivenessProbe, "/livez"},
			{"readiness", container.ReadinessProbe, "/readyz"},
		} {
			if probe.probe == nil || probe.probe.HTTPGet == nil ||
				probe.probe.HTTPGet.Path != probe.path || probe.probe.HTTPGet.Port.String() != "http" {
				problems = append(problems, fmt.Sprintf("%s: %s does not ask %s of port http", container.Name, probe.name, probe.path))
			}
		}
		for name, number := range map[string]int32{"mesh": 4710, "http": 4711} {
			if !slices.ContainsFunc(container.Ports, func(port corev1.ContainerPort) bool {
				return port.Name == name && port.ContainerPort == number
			}) {
				problems = append(problems, fmt.Sprintf("%s: port %s is not %d", container.Name, name, number))
			}
		}
	}
	return problems
}

// A node must leave a Pi, and the Pi's other programs, room: CPU is requested but not limited, for a throttled node
// reads its sensors late.
func isBounded(pod corev1.PodSpec) []string {
	var problems []string
	for _, container := range pod.Containers {
		requests, limits := container.Resources.Requests, container.Resources.Limits
		if requests.Cpu().IsZero() || requests.Memory().IsZero() {
			problems = append(problems, container.Name+": requests no CPU or no memory")
		}
		if limit := limits.Memory(); limit.IsZero() || limit.Cmp(resource.MustParse("64Mi")) > 0 {
			problems = append(problems, container.Name+": memory is not limited to 64Mi")
		}
		if !limits.Cpu().IsZero() {
			problems = append(problems, container.Name+": CPU is limited")
		}
	}
	return problems
}

func stopsInTime(pod corev1.PodSpec) []string {
	if period := pod.TerminationGracePeriodSeconds; period == nil || *period <= stopDeadlineSeconds {
		return []string{fmt.Sprintf("grace period is not above the node's own %d s", stopDeadlineSeconds)}
	}
	return nil
}

func isNamedAfterItsMachine(pod corev1.PodSpec) []string {
	for _, container := range pod.Containers {
		if !slices.ContainsFunc(container.Env, func(variable corev1.EnvVar) bool {
			return variable.Name == "MAGPIE_NAME" && variable.ValueFrom != nil && variable.ValueFrom.FieldRef != nil &&
				variable.ValueFrom.FieldRef.FieldPath == "spec.nodeName"
		}) {
			return []string{container.Name + ": MAGPIE_NAME is not the machine's name"}
		}
	}
	return nil
}

// What is not synced yet must be in memory, or every reading would wear the card, and must outlive the container.
func sparesTheCard(pod corev1.PodSpec) []string {
	var inMemory []string
	for _, volume := range pod.Volumes {
		if volume.EmptyDir != nil && volume.EmptyDir.Medium == corev1.StorageMediumMemory && volume.EmptyDir.SizeLimit != nil {
			inMemory = append(inMemory, volume.Name)
		}
	}
	var problems []string
	for _, container := range pod.Containers {
		if !slices.ContainsFunc(container.VolumeMounts, func(mount corev1.VolumeMount) bool {
			return mount.MountPath == runPath && !mount.ReadOnly && slices.Contains(inMemory, mount.Name)
		}) {
			problems = append(problems, container.Name+": "+runPath+" is no bounded emptyDir in memory")
		}
	}
	return problems
}

func keepsStateOnTheMachine(pod corev1.PodSpec) []string {
	for _, volume := range pod.Volumes {
		if volume.HostPath != nil && volume.HostPath.Path == statePath {
			return nil
		}
	}
	return []string{"key and readings are lost with the pod: no hostPath of " + statePath}
}

func asksForTheBus(pod corev1.PodSpec) []string {
	var problems []string
	for _, container := range pod.Containers {
		if count := container.Resources.Limits[busResource]; count.Value() != 1 {
			problems = append(problems, container.Name+": does not ask for one "+busResource)
		}
		if slices.Contains(container.Args, "--simulate") {
			problems = append(problems, container.Name+": simulates")
		}
	}
	return problems
}

func needsNothingOfTheMachine(pod corev1.PodSpec) []string {
	var problems []string
	for _, volume := range pod.Volumes {
		if volume.HostPath != nil {
			problems = append(problems, "needs "+volume.HostPath.Path+" of the machine")
		}
	}
	for _, container := range pod.Containers {
		if _, asked := container.Resources.Limits[busResource]; asked {
			problems = append(problems, container.Name+": needs an I2C bus")
		}
	}
	if len(pod.NodeSelector) > 0 {
		problems = append(problems, "runs on chosen machines only")
	}
	return problems
}

func simulates(pod corev1.PodSpec) []string {
	for _, container := range pod.Containers {
		if !slices.Contains(container.Args, "--simulate") {
			return []string{container.Name + ": does not simulate"}
		}
	}
	return nil
}

func refersToWhatIsThere(pod corev1.PodSpec, objects []any) []string {
	there := map[string]bool{}
	for _, object := range objects {
		switch object := object.(type) {
		case *corev1.ServiceAccount:
			there["service account "+object.Name] = true
		case *corev1.ConfigMap:
			there["config map "+object.Name] = true
		}
	}
	wanted := []string{"service account " + pod.ServiceAccountName}
	for _, volume := range pod.Volumes {
		if volume.ConfigMap != nil {
			wanted = append(wanted, "config map "+volume.ConfigMap.Name)
		}
	}
	var problems []string
	for _, name := range wanted {
		if !there[name] {
			problems = append(problems, "refers to "+name+", which is not among the manifests")
		}
	}
	return problems
}

func isFalse(value *bool) bool { return value != nil && !*value }
