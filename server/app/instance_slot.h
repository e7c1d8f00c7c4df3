#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace ecom::app {

/// A name for this process among those that share a data folder, the same one after a restart: so
/// that others, such as a Kafka group, take the restarted process for the one that died. Held, as a
/// locked file, until this object or the process ends.
class InstanceSlot {
 public:
  /// Takes the first free slot. Blocks for some file I/O. FAILED_PRECONDITION, with a message for
  /// the operator: the folder can't be written, or more processes than slots use it.
  static absl::StatusOr<std::unique_ptr<InstanceSlot>> Take(const std::string& data_dir);
  ~InstanceSlot();
  InstanceSlot(const InstanceSlot&) = delete;
  InstanceSlot& operator=(const InstanceSlot&) = delete;

  /// Unique over hosts, folders and slots: "ecom-", 12 hexadecimal digits, and the slot's number.
  const std::string& name() const { return name_; }

 private:
  InstanceSlot(std::string name, int lock_file) : name_(std::move(name)), lock_file_(lock_file) {}

  const std::string name_;
  const int lock_file_;
};

}  // namespace ecom::app
