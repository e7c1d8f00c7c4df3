package runbook

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ecom/tests/stack"
)

// A command is a line of a block, or several that end in backslashes.
type command struct {
	section string // the heading above it
	only    string // the case that its block is for; "": all
	text    string
}

type page struct {
	name     string
	sections []string
	commands []command
	// unblocked are commands that stand in the text.
	unblocked []string
}

var (
	fence   = regexp.MustCompile("^ *```(?:sh ?([a-z]*))?$")
	heading = regexp.MustCompile(`^## (.+)$`)
	span    = regexp.MustCompile("`([^`]+)`")
	// isCommand is a program of the pages with something behind it; `kill -9` alone is a name for what it does.
	isCommand = regexp.MustCompile(`^(sudo |)(build/|mariadb|mysql|redis-cli|kcat|curl|ps|pkill|kill -\w+ [^ ]|top|SELECT|SHOW|UPDATE|KILL [^ ]) ?.* `)
)

func folder(t *testing.T) string {
	t.Helper()
	root, err := stack.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "docs", "runbook")
}

func pageNames(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder(t), "*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(path), ".md"))
	}
	return names
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder(t), name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	p := page{name: name}
	section, only, inBlock, open := "", "", false, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		if found := fence.FindStringSubmatch(line); found != nil {
			inBlock, only = !inBlock, found[1]
			continue
		}
		if !inBlock {
			if found := heading.FindStringSubmatch(line); found != nil {
				section = found[1]
				p.sections = append(p.sections, section)
			}
			for _, found := range span.FindAllStringSubmatch(line, -1) {
				if isCommand.MatchString(found[1]) {
					p.unblocked = append(p.unblocked, found[1])
				}
			}
			continue
		}
		open += line + "\n"
		if !strings.HasSuffix(line, `\`) {
			p.commands = append(p.commands, command{section, only, strings.TrimSpace(open)})
			open = ""
		}
	}
	if inBlock {
		t.Errorf("%s: a block does not end", name)
	}
	return p
}

// section returns the commands under a heading that are for a case.
func (p *page) section(name, case_ string) []command {
	return slices.DeleteFunc(slices.Clone(p.commands), func(c command) bool {
		return c.section != name || c.only != "" && c.only != case_
	})
}
