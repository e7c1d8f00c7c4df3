# Generates and compiles the protos. Google's own come from PyPI's googleapis-common-protos, which
# `make setup` unpacks to build/third_party/googleapis.
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)

set(ECOM_GOOGLEAPIS ${CMAKE_SOURCE_DIR}/build/third_party/googleapis
  CACHE PATH "Where google/api/*.proto and google/rpc/*.proto are")
set(gen ${CMAKE_BINARY_DIR}/gen)
file(MAKE_DIRECTORY ${gen})

set(plain
  google/api/annotations google/api/http google/rpc/status google/rpc/error_details)
set(events
  ecom/event/v1/claim)
set(caches
  ecom/cache/v1/cached_product)
set(services
  ecom/coupon/v1/coupon_service ecom/edge/v1/edge ecom/lane/v1/lane ecom/product/v1/product_service)

set(sources)
set(event_sources)
set(cache_sources)
foreach(proto IN LISTS plain events caches services)
  if(proto MATCHES "^google/")
    set(root ${ECOM_GOOGLEAPIS})
  else()
    set(root ${CMAKE_SOURCE_DIR}/proto)
  endif()
  set(outputs ${gen}/${proto}.pb.cc ${gen}/${proto}.pb.h)
  set(grpc_arguments)
  if(proto IN_LIST services)
    list(APPEND outputs ${gen}/${proto}.grpc.pb.cc ${gen}/${proto}.grpc.pb.h)
    set(grpc_arguments --grpc_out=${gen}
      --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin>)
  endif()
  add_custom_command(
    OUTPUT ${outputs}
    COMMAND protobuf::protoc -I ${CMAKE_SOURCE_DIR}/proto -I ${ECOM_GOOGLEAPIS}
            --cpp_out=${gen} ${grpc_arguments} ${root}/${proto}.proto
    DEPENDS ${root}/${proto}.proto
    COMMENT "Generating ${proto}"
    VERBATIM)
  if(proto IN_LIST events)
    list(APPEND event_sources ${outputs})
  elseif(proto IN_LIST caches)
    list(APPEND cache_sources ${outputs})
  else()
    list(APPEND sources ${outputs})
  endif()
endforeach()

# What logs and feeds carry, and what the cache holds: for those who need no gRPC.
add_library(ecom_event_proto STATIC ${event_sources})
target_link_libraries(ecom_event_proto PUBLIC protobuf::libprotobuf)
add_library(ecom_cache_proto STATIC ${cache_sources})
target_link_libraries(ecom_cache_proto PUBLIC protobuf::libprotobuf)
add_library(ecom_proto STATIC ${sources})
target_link_libraries(ecom_proto PUBLIC gRPC::grpc++ protobuf::libprotobuf)
foreach(library ecom_event_proto ecom_cache_proto ecom_proto)
  target_include_directories(${library} SYSTEM PUBLIC ${gen})
  target_compile_features(${library} PUBLIC cxx_std_20)
  if(ECOM_SANITIZE)
    target_compile_options(${library} PRIVATE -fsanitize=${ECOM_SANITIZE})
  endif()
endforeach()
