package cli

import (
	"fmt"
	"strings"

	"github.com/amoskys/amoskys/streams"
)

// appName is the application: part of consumer groups, changelogs and transactional ids.
const appName = "amoskys"

// stageNames are the stages of the split chain, in order, with the processors of each. A processor that the table does not
// name is a stage of its own.
var stageNames = []struct {
	name       string
	processors []string
}{
	{"lineage", []string{"normalize", "lineage"}},
	{"features", []string{"features"}},
	{"scoring", []string{"signature", "rarity", "ensemble"}},
}

// fusedStage is the name of the stage that holds the whole chain.
const fusedStage = "chain"

// stagesOf groups processors into stages: fused (one stage) or split (by stageNames). Grouping changes no result.
func stagesOf(suite []*streams.Processor, grouping string) ([]streams.Stage, error) {
	switch grouping {
	case "fused":
		return []streams.Stage{{Name: fusedStage, Processors: suite}}, nil
	case "split":
	default:
		return nil, fmt.Errorf("grouping %q is not accepted; accepted: fused, split", grouping)
	}
	var out []streams.Stage
	taken := map[string]bool{}
	for _, s := range stageNames {
		stage := streams.Stage{Name: s.name}
		for _, name := range s.processors {
			for _, p := range suite {
				if p.Name == name {
					stage.Processors = append(stage.Processors, p)
					taken[name] = true
				}
			}
		}
		if len(stage.Processors) > 0 {
			out = append(out, stage)
		}
	}
	for _, p := range suite {
		if !taken[p.Name] {
			out = append(out, streams.Stage{Name: p.Name, Processors: []*streams.Processor{p}})
		}
	}
	return out, nil
}

// pick returns the stages that a list of names asks for: all when it is empty, the fused one for "chain".
func pick(suite []*streams.Processor, names []string) ([]streams.Stage, error) {
	if len(names) == 0 || len(names) == 1 && names[0] == fusedStage {
		return stagesOf(suite, "fused")
	}
	all, err := stagesOf(suite, "split")
	if err != nil {
		return nil, err
	}
	var known []string
	for _, s := range all {
		known = append(known, s.Name)
	}
	var out []streams.Stage
	for _, n := range names {
		found := false
		for _, s := range all {
			if s.Name == n {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("stage %q is not known; known: %s, %s", n, fusedStage, strings.Join(known, ", "))
		}
	}
	return out, nil
}
