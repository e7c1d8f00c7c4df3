/* A function for GNU make: $(exec-program PATH,NAMES) replaces make by the program, which keeps
 * make's process id, and passes on the make variables of these names as its environment. make
 * answers SIGTERM and SIGINT by dying of them, whatever its child did; a program that must drain
 * and exit with 0 cannot be its child.
 * https://www.gnu.org/software/make/manual/html_node/Loading-Objects.html */
#include <errno.h>
#include <gnumake.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int plugin_is_GPL_compatible;

int exec_gmk_setup(void);

static void pass_on(const char *name) {
  char reference[128];
  snprintf(reference, sizeof reference, "$(%s)", name);
  char *value = gmk_expand(reference);
  if (*value != '\0') setenv(name, value, 1);
  gmk_free(value);
}

static char *exec_program(const char *function, unsigned int argc, char **argv) {
  (void)function;
  (void)argc;
  for (char *name = strtok(argv[1], " "); name != NULL; name = strtok(NULL, " ")) pass_on(name);
  unsetenv("MAKEFLAGS");
  unsetenv("MAKELEVEL");
  execl(argv[0], argv[0], (char *)NULL);
  fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
  exit(127);
}

int exec_gmk_setup(void) {
  gmk_add_function("exec-program", exec_program, 2, 2, GMK_FUNC_DEFAULT);
  return 1;
}
