package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// kinds that a manifest may have, each with a way to make an empty one. Another kind is refused until it stands here.
var kinds = map[string]func() any{
	"v1/Namespace":      func() any { return new(corev1.Namespace) },
	"v1/ServiceAccount": func() any { return new(corev1.ServiceAccount) },
	"v1/Service":        func() any { return new(corev1.Service) },
	"v1/ConfigMap":      func() any { return new(corev1.ConfigMap) },
	"apps/v1/DaemonSet": func() any { return new(appsv1.DaemonSet) },
}

func render(folder string) ([]byte, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("render %s: %w", folder, err)
	}
	return resources.AsYaml()
}

func decode(rendered []byte) ([]any, error) {
	var objects []any
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(rendered)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, err := decodeOne(document)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

func decodeOne(document []byte) (any, error) {
	var header struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := yaml.Unmarshal(document, &header); err != nil {
		return nil, err
	}
	kind := header.APIVersion + "/" + header.Kind
	empty, known := kinds[kind]
	if !known {
		return nil, fmt.Errorf("%s %q: a kind that is not checked: add it to kinds", kind, header.Metadata.Name)
	}
	// As the API server does it: Go's own JSON, and so sigs.k8s.io/yaml, would let the wrong case pass.
	object := empty()
	document, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", kind, header.Metadata.Name, err)
	}
	strict, err := json.UnmarshalStrict(document, object)
	if err := errors.Join(append(strict, err)...); err != nil {
		return nil, fmt.Errorf("%s %q: %w", kind, header.Metadata.Name, err)
	}
	return object, nil
}
