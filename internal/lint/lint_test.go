package lint

import "testing"

// The tree as it is.
func TestHouse(t *testing.T) {
	tree, err := Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Go) < 100 || len(tree.Text) < len(tree.Go) {
		t.Fatalf("only %d Go files and %d texts were found", len(tree.Go), len(tree.Text))
	}
	for _, r := range Rules {
		t.Run(r.Name, func(t *testing.T) {
			fs := r.Check(tree)
			for _, f := range fs {
				t.Error(f)
			}
			if len(fs) > 0 {
				t.Logf("the rule is there because: %s", r.Reason)
			}
		})
	}
}
