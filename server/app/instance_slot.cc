#include "app/instance_slot.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace ecom::app {
namespace {

constexpr int kSlotsMax = 64;  // far more recorders than a log has partitions

std::string FolderName(const std::string& data_dir) {
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::canonical(data_dir, error);
  // Hosts that were made from one image may share a name.
  std::ifstream machine("/etc/machine-id");
  std::string machine_id;
  std::getline(machine, machine_id);
  const std::string text =
      absl::StrCat(machine_id, "\n", host.data(), "\n", error ? data_dir : folder.string());
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  constexpr size_t kDigestBytes = 6;
  return absl::BytesToHexString(std::string(digest.begin(), digest.begin() + kDigestBytes));
}

}  // namespace

absl::StatusOr<std::unique_ptr<InstanceSlot>> InstanceSlot::Take(const std::string& data_dir) {
  for (int slot = 0; slot < kSlotsMax; ++slot) {
    const std::string path = absl::StrCat(data_dir, "/instance-", slot, ".lock");
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) return absl::FailedPreconditionError(absl::StrCat(path, ": ", strerror(errno)));
    if (flock(file, LOCK_EX | LOCK_NB) == 0) {
      return std::unique_ptr<InstanceSlot>(
          new InstanceSlot(absl::StrCat("ecom-", FolderName(data_dir), "-", slot), file));
    }
    close(file);
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "DATA_DIR ", data_dir, " is in use by ", kSlotsMax, " processes; give this one another"));
}

InstanceSlot::~InstanceSlot() { close(lock_file_); }

}  // namespace ecom::app
