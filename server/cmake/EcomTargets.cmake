# How every target of the project is made: one place for the language, the warnings and the sanitizers.
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(spdlog REQUIRED)

add_library(ecom_options INTERFACE)
target_compile_features(ecom_options INTERFACE cxx_std_20)
target_compile_options(ecom_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wimplicit-fallthrough
  -Wno-missing-field-initializers  # designated initializers leave out what has a default
  -Wno-maybe-uninitialized  # gcc 12 sees ghosts in optional and StatusOr
  -Werror)
target_include_directories(ecom_options INTERFACE ${CMAKE_SOURCE_DIR}/server)
target_link_libraries(ecom_options INTERFACE Threads::Threads)
if(ECOM_SANITIZE)
  target_compile_options(ecom_options INTERFACE
    -fsanitize=${ECOM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(ecom_options INTERFACE -fsanitize=${ECOM_SANITIZE})
endif()

# ecom_library(<room> SOURCES … [DEPS …] [PRIVATE_DEPS …]): the library ecom::<room> of one room.
function(ecom_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS;PRIVATE_DEPS")
  add_library(ecom_${name} STATIC ${arg_SOURCES})
  add_library(ecom::${name} ALIAS ecom_${name})
  target_link_libraries(ecom_${name} PUBLIC ecom_options ${arg_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
endfunction()

# The tests that need no gRPC in their process, whose libraries know nothing of sanitizers.
add_custom_target(sanitizable-tests)

# ecom_test(<name> LABEL <unit|contract|integration|rpc> [WHOLE] SOURCES … DEPS …): one GoogleTest
# program; each of its tests is a ctest test with the label. A WHOLE one starts servers once for all
# of its tests, so ctest leaves it alone and tests/run runs it.
function(ecom_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "WHOLE" "LABEL" "SOURCES;DEPS")
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ecom_options ${arg_DEPS} GTest::gtest GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${name} PRIVATE ECOM_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(arg_LABEL MATCHES "unit|contract")
    add_dependencies(sanitizable-tests ${name})
  endif()
  if(arg_WHOLE)
    return()
  endif()
  gtest_discover_tests(${name} DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${arg_LABEL} TIMEOUT 120)
endfunction()
