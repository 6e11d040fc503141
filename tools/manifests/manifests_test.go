// Package manifests checks the Kubernetes manifests without a cluster: every folder below k8s/ that can be applied is
// rendered as `kubectl apply -k` would, decoded into Kubernetes' own types (an unknown or misspelt field is an error),
// and held to what the project promises about its pods.
//
// The versions in go.mod are the newest that Debian's Go 1.23 compiles.
package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../../k8s"

// What each folder promises beyond the rules for all.
var folders = map[string][]rule{
	"base/node":          {keepsStateOnTheMachine, asksForTheBus},
	"overlays/simulated": {needsNothingOfTheMachine, simulates},
}

func TestManifests(t *testing.T) {
	for folder, own := range folders {
		t.Run(folder, func(t *testing.T) {
			rendered, err := render(filepath.Join(root, folder))
			if err != nil {
				t.Fatal(err)
			}
			objects, err := decode(rendered)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range check(objects, append(own, rules...)) {
				t.Error(problem)
			}
		})
	}
}

// A folder that nobody added above would go unchecked.
func TestEveryFolderIsChecked(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(root, "*", "*", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := folders[filepath.ToSlash(folder)]; !ok {
			t.Errorf("%s is not checked: add it to folders", folder)
		}
	}
}

// The image that the manifests name is the one that this tree builds.
func TestImageTagIsTheVersion(t *testing.T) {
	cargo, err := os.ReadFile("../../Cargo.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(cargo), "\nversion = \"")
	version, _, found := strings.Cut(rest, "\"")
	if !found {
		t.Fatal("no version in Cargo.toml")
	}
	rendered, err := render(filepath.Join(root, "base/node"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "image: localhost/magpie:" + version + "\n"; !strings.Contains(string(rendered), want) {
		t.Errorf("base/node does not say %q", strings.TrimSpace(want))
	}
}

// The rules find what they are for: each change breaks the real manifest in one way.
func TestBrokenManifestsAreRefused(t *testing.T) {
	rendered, err := render(filepath.Join(root, "base/node"))
	if err != nil {
		t.Fatal(err)
	}
	for _, broken := range []struct{ old, new, problem string }{
		{"readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true", "unknown field"},
		{"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "root filesystem"},
		{"readOnlyRootFilesystem: true", "privileged: true", "privileged"},
		{"allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "escalation"},
		{"- ALL", "- NET_RAW", "capabilities"},
		{"runAsNonRoot: true", "runAsNonRoot: false", "root"},
		{"runAsUser: 65532", "runAsUser: 1000", "65532"},
		{"type: RuntimeDefault", "type: Unconfined", "seccomp"},
		{"enableServiceLinks: false", "enableServiceLinks: true", "service links"},
		{"terminationGracePeriodSeconds: 20", "terminationGracePeriodSeconds: 10", "grace period"},
		{"path: /readyz", "path: /livez", "readiness"},
		{"memory: 64Mi", "memory: 1Gi", "memory"},
		{"automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"},
		{"path: /var/lib/magpie", "path: /", "hostPath"},
		{"medium: Memory", "medium: \"\"", "emptyDir in memory"},
		{"mountPath: /run/magpie", "mountPath: /run", "emptyDir in memory"},
		{"fieldPath: spec.nodeName", "fieldPath: metadata.name", "MAGPIE_NAME"},
	} {
		t.Run(broken.new, func(t *testing.T) {
			changed := strings.ReplaceAll(string(rendered), broken.old, broken.new)
			if changed == string(rendered) {
				t.Fatalf("the manifest has no %q", broken.old)
			}
			var problems []string
			objects, err := decode([]byte(changed))
			if err != nil {
				problems = []string{err.Error()}
			} else {
				problems = check(objects, append(folders["base/node"], rules...))
			}
			if !strings.Contains(strings.Join(problems, "\n"), broken.problem) {
				t.Errorf("not refused for its %s, but: %q", broken.problem, problems)
			}
		})
	}
}
