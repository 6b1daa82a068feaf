package cli

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// The commands that the example's containers run are Haldane's, with its flags.
func TestContainersOfTheExampleRun(t *testing.T) {
	found := 0
	for _, file := range []string{"proxy.yaml", "models.yaml"} {
		text, err := os.ReadFile("../../examples/llm/kubernetes/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for doc := range strings.SplitSeq(string(text), "\n---\n") {
			var d appsv1.Deployment
			if err := yaml.Unmarshal([]byte(doc), &d); err != nil || d.Kind != "Deployment" {
				continue // another object: the API server reads all of them in another test
			}
			args := d.Spec.Template.Spec.Containers[0].Args
			cmd, rest, err := newRoot(&shell{}).Find(args)
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil || !cmd.Runnable() {
				t.Errorf("%s of %s: %q: %v", d.Name, file, args, err)
			}
			found++
		}
	}
	if found != 3 {
		t.Errorf("%d Deployments were found, expected the proxy and two models", found)
	}
}
