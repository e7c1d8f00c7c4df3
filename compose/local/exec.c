/* A function for GNU make: $(exec-program PATH) replaces make by the program, which keeps make's
 * process id. make answers SIGTERM and SIGINT by dying of them, whatever its child did; a program
 * that must drain and exit with 0 cannot be its child.
 * https://www.gnu.org/software/make/manual/html_node/Loading-Objects.html */
#include <errno.h>
#include <gnumake.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int plugin_is_GPL_compatible;

int exec_gmk_setup(void);

static char *exec_program(const char *name, unsigned int argc, char **argv) {
  (void)name;
  (void)argc;
  unsetenv("MAKEFLAGS");
  unsetenv("MAKELEVEL");
  execl(argv[0], argv[0], (char *)NULL);
  fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
  exit(127);
}

int exec_gmk_setup(void) {
  gmk_add_function("exec-program", exec_program, 1, 1, GMK_FUNC_DEFAULT);
  return 1;
}
