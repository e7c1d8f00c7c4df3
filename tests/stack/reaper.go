package stack

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
)

// A test program that is killed, or ends by its timeout, runs no cleanup. So a shell stands by: when
// the pipe from this program ends, however that came, it kills what was started and deletes the
// folders that were made. After a clean end it finds nothing.
var reaper struct {
	sync.Mutex
	in io.Writer
}

const reaperScript = `
markers=() folders=()
while read -r kind text; do
  case $kind in
    marker) markers+=("$text") ;;
    folder) folders+=("$text") ;;
  esac
done
is_ours() {
  local text cwd
  for text in "${markers[@]}"; do
    grep -qzxF -- "$text" "$1/environ" 2>/dev/null && return
  done
  cwd=$(readlink "$1/cwd" 2>/dev/null)
  for text in "${folders[@]}"; do
    [[ $cwd == "$text"/* ]] && return
  done
  return 1
}
for round in 1 2 3 4 5; do  # what they start meanwhile, too
  left=
  for process in /proc/[0-9]*; do
    if is_ours "$process"; then
      kill -KILL "${process#/proc/}" 2>/dev/null
      left=yes
    fi
  done
  [ -n "$left" ] || break
done
[ ${#folders[@]} -eq 0 ] || rm -rf -- "${folders[@]}"
`

// outlives tells the reaper of something ("marker" or "folder") that must not outlive this program.
func outlives(kind, text string) error {
	if strings.ContainsAny(text, "\n") {
		return fmt.Errorf("%s %q has a line break", kind, text)
	}
	reaper.Lock()
	defer reaper.Unlock()
	if reaper.in == nil {
		command := exec.Command("bash", "-c", reaperScript)
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl-C is not for it
		in, err := command.StdinPipe()
		if err != nil {
			return err
		}
		if err := command.Start(); err != nil {
			return err
		}
		reaper.in = in
	}
	_, err := fmt.Fprintf(reaper.in, "%s %s\n", kind, text)
	return err
}
