#include "ctl/trace.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ecom::ctl {
namespace {

using coupon::RequestId;

const absl::Time kNow = absl::FromUnixSeconds(1'766'653'343);

/// An open campaign with a gate at generation 3, of which one user has asked for nothing.
class Traced : public testing::Test {
 protected:
  Traced() {
    trace_.records.coupon = coupon::Coupon{.id = {1},
                                           .name = "쿠폰",
                                           .incarnation = "one",
                                           .total_quantity = 10,
                                           .available_quantity = 4,
                                           .starts_at = kNow - absl::Hours(1),
                                           .ends_at = kNow + absl::Hours(1),
                                           .gate_generation = {3}};
    trace_.gate = coupon::GateState{.generation = {3}, .open = true, .total = 10, .stock = 4};
  }

  void Log(coupon::LogPosition position, const RequestId& request, int64_t generation = 3,
           int64_t barrier = 0, const std::string& incarnation = "one") {
    trace_.log.records.push_back(
        {.record = {.partition = 2,
                    .position = position,
                    .record = coupon::AdmittedClaim{.holder = trace_.holder,
                                                    .request = request,
                                                    .incarnation = incarnation,
                                                    .generation = {generation},
                                                    .claimed_at = kNow}},
         .appended_at = kNow,
         .barrier_before = {barrier}});
    trace_.log.end = trace_.log.read_to = position + 1;
  }
  void Row(const RequestId& request) {
    trace_.records.row =
        coupon::RecordedIssue{.user = trace_.holder.user, .request = request, .issued_at = kNow};
  }

  /// What became of each of the user's records in the log.
  std::vector<std::string> Fates() const {
    std::vector<std::string> fates;
    for (const Step& step : StepsOf(trace_)) {
      for (const auto& [name, value] : step.fields) {
        if (name == "fate") fates.push_back(std::get<std::string>(value));
      }
    }
    return fates;
  }
  std::vector<std::string> Notes() const {
    std::vector<std::string> notes;
    for (const Step& step : StepsOf(trace_)) {
      if (step.what == "note") notes.push_back(step.text);
    }
    return notes;
  }
  /// To GET and to POST.
  std::string Answers() const {
    const AnswerNow answer = AnswerOf(trace_);
    return answer.status + " " + answer.issue + (answer.replayed ? " again" : "");
  }

  Trace trace_ = {.holder = {.coupon = {1}, .user = {7}},
                  .now = kNow,
                  .reservations_max = 100,
                  .committed = 100};
  const RequestId mine_ = RequestId::Random(), other_ = RequestId::Random();
};

TEST_F(Traced, SaysWhatBecameOfEachRecordAsTheRecorderDecides) {
  Log(1, other_, 3, 0, "an earlier one");
  Log(2, other_, 1, 2);
  Log(3, mine_);
  Log(4, mine_);
  Log(5, other_);
  Log(100, other_);
  Row(mine_);
  EXPECT_EQ(Fates(), (std::vector<std::string>{"unknown-coupon", "stale", "issued", "duplicate",
                                               "duplicate", "waiting"}));
}

TEST_F(Traced, KnowsTheRejectedTheLostAndTheMalformed) {
  Log(1, mine_);
  Log(2, other_);
  trace_.records.rejections.push_back(
      {.user = {7}, .request = other_, .reason = "over-admitted", .rejected_at = kNow});
  trace_.log.records.push_back(
      {.record = {.position = 3, .record = coupon::Malformed{.reason = "\x1b[2J", .key = "7"}},
       .appended_at = kNow});
  EXPECT_EQ(Fates(), (std::vector<std::string>{"lost", "rejected", "malformed"}));
  for (const Step& step : StepsOf(trace_)) {
    EXPECT_EQ(step.text.find('\x1b'), step.text.npos) << "a terminal would obey";
  }
}

TEST_F(Traced, MakesTheRowOfTheFirstRecordThatWasNotStale) {
  Log(1, mine_, 1, 2);
  Log(2, mine_, 3, 2);
  Row(mine_);
  EXPECT_EQ(Fates(), (std::vector<std::string>{"stale", "issued"}));
}

TEST_F(Traced, SaysWhatWasNotRead) {
  trace_.log.begin = 5;
  trace_.log.read_to = 7;
  trace_.log.end = 9;
  trace_.events.coverage.to_the_end = false;
  trace_.letters_whole = false;
  EXPECT_EQ(Notes().size(), 4u);
  trace_.log.more = true;
  EXPECT_EQ(Notes()[1], "the log has more records of this user");
}

TEST_F(Traced, AnswersANewcomerByWindowStockAndReservations) {
  EXPECT_EQ(Answers(), "CP104 QUEUED");
  trace_.gate->reservations = 100;
  EXPECT_EQ(Answers(), "CP104 CM503");
  trace_.gate->stock = 0;
  EXPECT_EQ(Answers(), "CP104 CP101");
  trace_.now = kNow + absl::Hours(1);
  EXPECT_EQ(Answers(), "CP104 CP105") << "the end is exclusive, and the gate still answers";
  trace_.now = kNow - absl::Hours(1);
  EXPECT_EQ(Answers(), "CP104 CP101") << "the start is inclusive";
  trace_.now -= absl::Microseconds(1);
  EXPECT_EQ(Answers(), "CP104 CP105");
  trace_.records.coupon.reset();
  EXPECT_EQ(Answers(), "CP104 CP103");
}

TEST_F(Traced, AnswersWhoHasAReservationOrARow) {
  trace_.is_participant = true;
  trace_.reservation = coupon::Reservation{.claim = {trace_.holder, mine_}, .claimed_at = kNow};
  EXPECT_EQ(Answers(), "QUEUED CP102 again");
  trace_.reservation.reset();
  EXPECT_EQ(Answers(), "CP104 CP102");
  EXPECT_NE(AnswerOf(trace_).sentence.find("run ecomctl verify"), std::string::npos);
  Row(mine_);
  EXPECT_EQ(Answers(), "ISSUED CP102 again");
  EXPECT_EQ(AnswerOf(trace_).sentence.find("run ecomctl verify"), std::string::npos);
  trace_.now = kNow + absl::Hours(26);
  EXPECT_EQ(Answers(), "ISSUED CP102 again") << "by the store alone, for ever";
}

TEST_F(Traced, AnswersUnavailableWhileTheGateIsNotReady) {
  const Trace whole = trace_;
  trace_.gate->open = false;
  EXPECT_EQ(Answers(), "CM503 CM503");
  trace_ = whole;
  trace_.gate->generation = {2};
  EXPECT_EQ(Answers(), "CM503 CM503");
  trace_ = whole;
  trace_.gate_trouble = "tampered with";
  EXPECT_EQ(Answers(), "CM503 CM503");
  trace_.gate.reset();
  EXPECT_EQ(Answers(), "CM503 CM503");
  Row(mine_);
  EXPECT_EQ(Answers(), "ISSUED CM503") << "how it ended is in the row";
  trace_.records.row.reset();
  trace_.records.rejections.push_back({.user = {7}, .request = mine_});
  EXPECT_EQ(Answers(), "REJECTED CM503");
}

TEST_F(Traced, AnswersByTheLogAndTheRowsWhereTheGateIsNotSeen) {
  trace_.gate_seen = false;
  trace_.gate.reset();
  trace_.committed = 0;
  EXPECT_EQ(Answers(), "CP104 QUEUED");
  Log(1, mine_);
  EXPECT_EQ(Answers(), "QUEUED CP102 again");
  trace_.log.records.clear();
  Log(1, mine_, 1, 2);
  EXPECT_EQ(Answers(), "CP104 QUEUED") << "behind a barrier it counts no more";
  trace_.records.coupon->available_quantity = 0;
  EXPECT_EQ(Answers(), "CP104 CP101");
}

TEST_F(Traced, TellsTheStoryInTheOrderOfItsWay) {
  trace_.is_participant = true;
  trace_.reservation = coupon::Reservation{.claim = {trace_.holder, mine_}, .claimed_at = kNow};
  Log(1, mine_);
  Row(mine_);
  trace_.events.events.push_back({.issued = {.holder = trace_.holder, .request = mine_}});
  trace_.letters.push_back({.reason = "no such coupon", .settled_as = "replayed"});
  std::vector<std::string> names;
  for (const Step& step : StepsOf(trace_)) names.push_back(step.what);
  EXPECT_EQ(names, (std::vector<std::string>{"definition", "gate", "reservation", "log", "row",
                                             "event", "dead_letter"}));
}

}  // namespace
}  // namespace ecom::ctl
