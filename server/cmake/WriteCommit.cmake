# Writes the commit into OUTPUT, and touches it only when the commit is another one. The environment may name it,
# where there are only the sources.
set(commit $ENV{COMMIT})
if(NOT commit)
  execute_process(
    COMMAND git describe --always --dirty
    WORKING_DIRECTORY ${SOURCE}
    OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT commit)
  set(commit unknown)
endif()
file(WRITE ${OUTPUT}.new "#define ECOM_COMMIT \"${commit}\"\n")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT)
