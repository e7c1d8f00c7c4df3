#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "adapters/kafka/history.h"
#include "coupon/audit.h"
#include "coupon/coupon.h"
#include "coupon/gate.h"

namespace ecom::ctl {

/// A dead letter that carries a record of the user.
struct TracedLetter {
  coupon::LogPartition partition = 0;
  coupon::LogPosition position = 0;
  std::optional<absl::Time> kept_at;
  std::string reason;
  coupon::LogPartition origin_partition = 0;
  coupon::LogPosition origin_position = 0;
  std::string settled_as;  ///< empty: nobody has dealt with it
};

/// All that is known of one user's claim on one coupon.
struct Trace {
  coupon::Holder holder;
  absl::Time now;
  coupon::HolderRecords records;
  bool gate_seen = true;  ///< false: it is in the memory of a server
  std::optional<coupon::GateState> gate;
  std::string gate_trouble;  ///< why the gate cannot say what it holds of the user; empty: it can
  bool is_participant = false;
  std::optional<coupon::Reservation> reservation;
  int64_t reservations_max = 0;
  adapters::kafka::UserLog log;
  coupon::LogPosition committed = 0;  ///< of the user's partition
  adapters::kafka::UserEvents events;
  std::vector<TracedLetter> letters;
  bool letters_whole = true;  ///< false: there are more letters than were read
};

/// One thing that is known. `what` is one of definition, gate, reservation, log, rejection, row,
/// event, dead_letter and note.
struct Step {
  using Value = std::variant<int64_t, bool, std::string>;

  std::string what;
  std::optional<absl::Time> at;
  std::string text;
  std::vector<std::pair<std::string, Value>> fields;
};

/// The story in the order in which a claim goes its way: definition, gate, log, row, event. Pure.
std::vector<Step> StepsOf(const Trace& trace);

/// What the user would be answered now.
struct AnswerNow {
  std::string status;  ///< to GET: QUEUED, ISSUED, REJECTED, CP104 or CM503
  std::string
      issue;  ///< to POST with a new key, or none: QUEUED, CP101, CP102, CP103, CP105, CM503
  std::optional<coupon::RequestId> replayed;  ///< POST with the key of this request: QUEUED again
  std::string sentence;
};

/// Works the answers out as the servers do. Pure. Where the gate is not seen it goes by the rows
/// and the log.
AnswerNow AnswerOf(const Trace& trace);

}  // namespace ecom::ctl
