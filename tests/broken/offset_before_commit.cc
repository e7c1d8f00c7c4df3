// A log that counts a record as settled once it is delivered: librdkafka's default. Whoever dies
// between that and the COMMIT has lost it. A server with it must fail the ledger.
//
// The linker puts these in the place of librdkafka's functions (--wrap), so that all of the adapter
// is as it ships, but for one setting.
#include <librdkafka/rdkafka.h>

#include <string_view>

extern "C" {

rd_kafka_conf_res_t __real_rd_kafka_conf_set(rd_kafka_conf_t* conf, const char* name,
                                             const char* value, char* error, size_t error_size);

rd_kafka_conf_res_t __wrap_rd_kafka_conf_set(rd_kafka_conf_t* conf, const char* name,
                                             const char* value, char* error, size_t error_size) {
  const bool broken = std::string_view(name) == "enable.auto.offset.store";
  return __real_rd_kafka_conf_set(conf, name, broken ? "true" : value, error, error_size);
}

rd_kafka_resp_err_t __wrap_rd_kafka_offsets_store(rd_kafka_t* /*client*/,
                                                  rd_kafka_topic_partition_list_t* /*offsets*/) {
  return RD_KAFKA_RESP_ERR_NO_ERROR;  // it is stored already
}

}  // extern "C"
