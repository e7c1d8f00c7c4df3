// `ecomctl explain`, `dlt`, `gate` and `reconcile` on a real stack.
#include <thread>

#include "ctl_campaign.h"

namespace ecom::tests {
namespace {

using ctl::Exit;
using nlohmann::json;

class CtlCommands : public CtlCampaign {
 protected:
  CtlAnswer ExplainAs(int64_t user, std::vector<std::string> more) {
    std::vector<std::string> arguments = {"explain", "--coupon", absl::StrCat(id_.value), "--user",
                                          absl::StrCat(user)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return Run(arguments);
  }
  json Explain(int64_t user) {
    const CtlAnswer answer = ExplainAs(user, {"-o", "json"});
    EXPECT_EQ(answer.exit, Exit::kClean) << answer.error;
    return answer.json();
  }
  static std::vector<std::string> StepsIn(const json& told) {
    std::vector<std::string> steps;
    for (const json& step : told["steps"]) steps.push_back(step["step"]);
    return steps;
  }
  static json StepOf(const json& told, const std::string& name) {
    for (const json& step : told["steps"]) {
      if (step["step"] == name) return step;
    }
    ADD_FAILURE() << "no step " << name << " in " << told.dump(2);
    return {};
  }

  json Letters(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"dlt", "list", "-o", "json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CtlAnswer answer = Run(arguments);
    EXPECT_EQ(answer.exit, Exit::kClean) << answer.error;
    return answer.json();
  }
  CtlAnswer Deal(const std::string& how, const json& letter) {
    return Run({"dlt", how, "--offset", letter["offset"].dump()});
  }
  /// Waits until so many letters are there that nobody has dealt with.
  bool Await(size_t letters) {
    return Eventually([&] { return Letters().size() == letters; });
  }
  void PutPoison(const std::string& key, const std::string& payload) {
    stack_.kafka().Produce("coupon-issue", {.partition = 0, .key = key, .payload = payload});
  }
  int64_t RecordsInLog() {
    int64_t records = 0;
    const coupon::LogPositions ends = Made(backing().progress().Ends());
    for (const auto& [partition, end] : ends) records += end;
    return records;
  }

  /// All that a command could change.
  std::string State() {
    std::string state = redis().Do({"DEBUG", "DIGEST"});
    for (const std::string columns :
         {"coupons: id, total_quantity, available_quantity, incarnation, gate_generation, "
          "gate_home",
          "coupon_issues: coupon_id, user_id, request_id, issued_at",
          "coupon_rejections: coupon_id, user_id, request_id",
          "gate_barriers: coupon_id, log_partition, gate_generation",
          "log_partitions: log_partition, recorded, announced",
          "dead_letters_settled: letter_partition, letter_offset, settled_as"}) {
      const size_t colon = columns.find(':');
      const auto rows =
          database().Texts(absl::StrCat("SELECT CONCAT_WS(' ', ", columns.substr(colon + 1),
                                        ") FROM ", columns.substr(0, colon), " ORDER BY 1"));
      absl::StrAppend(&state, "\n", columns.substr(0, colon), " ", absl::StrJoin(rows, ";"));
    }
    absl::StrAppend(&state, "\nlog ", RecordsInLog());
    return state;
  }

  /// A server that looks after its gates, until the end of the scope.
  class RunningReconciler {
   public:
    explicit RunningReconciler(coupon::Reconciler& reconciler)
        : thread_([this, &reconciler] {
            while (!stopping_) {
              const absl::Status pass = reconciler.Reconcile();
              static_cast<void>(pass);  // the next one tries again
              std::this_thread::yield();
            }
          }) {}
    ~RunningReconciler() {
      stopping_ = true;
      thread_.join();
    }

   private:
    std::atomic<bool> stopping_{false};
    std::thread thread_;
  };
};

TEST_F(CtlCommands, ExplainsThatAUserNeverAsked) {
  Open(10);
  const json told = Explain(77);
  EXPECT_EQ(StepsIn(told), (std::vector<std::string>{"definition", "gate"}));
  EXPECT_EQ(StepOf(told, "definition")["window"], "open");
  EXPECT_EQ(StepOf(told, "gate")["participant"], false);
  EXPECT_EQ(told["answers"], (json{{"status", "CP104"}, {"issue", "QUEUED"}}));
}

TEST_F(CtlCommands, ExplainsAClaimThatIsQueuedAndThenIssued) {
  Open(10);
  stack_.StopRecorder();
  Ask({77});
  const std::string request = journal_.back().request_id;
  const json queued = Explain(77);
  EXPECT_EQ(StepsIn(queued),
            (std::vector<std::string>{"definition", "gate", "reservation", "log"}));
  EXPECT_EQ(StepOf(queued, "reservation")["request_id"], request);
  EXPECT_EQ(StepOf(queued, "log")["request_id"], request);
  EXPECT_EQ(StepOf(queued, "log")["fate"], "waiting");
  EXPECT_EQ(queued["answers"],
            (json{{"status", "QUEUED"}, {"issue", "CP102"}, {"queued_again", request}}));

  stack_.StartRecorder();
  ASSERT_TRUE(Drain());
  const json issued = Explain(77);
  EXPECT_EQ(StepsIn(issued),
            (std::vector<std::string>{"definition", "gate", "log", "row", "event"}));
  EXPECT_EQ(StepOf(issued, "log")["fate"], "issued");
  EXPECT_EQ(StepOf(issued, "row")["request_id"], request);
  EXPECT_EQ(StepOf(issued, "event")["request_id"], request);
  EXPECT_EQ(issued["answers"],
            (json{{"status", "ISSUED"}, {"issue", "CP102"}, {"queued_again", request}}));

  const CtlAnswer text = ExplainAs(77, {});
  EXPECT_NE(text.out.find("became the row"), text.out.npos) << text.out;
  EXPECT_NE(text.out.find("Asked now, GET answers ISSUED and POST CP102"), text.out.npos);
}

TEST_F(CtlCommands, ExplainsAClaimThatWasRejected) {
  Open(1);
  Ask({1});
  ASSERT_TRUE(Drain());
  Append({77}, incarnation_);
  ASSERT_TRUE(Drain());
  const json told = Explain(77);
  EXPECT_EQ(StepsIn(told), (std::vector<std::string>{"definition", "gate", "log", "rejection"}));
  EXPECT_EQ(StepOf(told, "log")["fate"], "rejected");
  EXPECT_EQ(StepOf(told, "rejection")["reason"], "over-admitted");
  EXPECT_EQ(told["answers"], (json{{"status", "REJECTED"}, {"issue", "CP101"}}));
}

TEST_F(CtlCommands, ExplainsAClaimThatBecameADeadLetterAndWhatWasDoneAboutIt) {
  Open(10);
  Append({77}, "another-incarnation");
  ASSERT_TRUE(Await(1));
  const json told = Explain(77);
  EXPECT_EQ(StepsIn(told), (std::vector<std::string>{"definition", "gate", "log", "dead_letter"}));
  EXPECT_EQ(StepOf(told, "log")["fate"], "unknown-coupon");
  const json letter = StepOf(told, "dead_letter");
  EXPECT_EQ(letter["reason"], "no such coupon");
  EXPECT_EQ(letter["settled_as"], "");
  EXPECT_EQ(letter["origin_offset"], StepOf(told, "log")["offset"]);
  EXPECT_EQ(told["answers"], (json{{"status", "CP104"}, {"issue", "QUEUED"}}));
  ASSERT_EQ(Deal("discard", letter).exit, Exit::kClean);
  EXPECT_EQ(StepOf(Explain(77), "dead_letter")["settled_as"], "discarded");
}

TEST_F(CtlCommands, ExplainsWhatUsersAreToldOutsideTheWindowAndWithoutAGate) {
  EXPECT_EQ(Explain(77)["answers"], (json{{"status", "CP104"}, {"issue", "CP103"}}));
  Define(10, absl::Hours(1));
  EXPECT_EQ(Explain(77)["answers"], (json{{"status", "CP104"}, {"issue", "CP105"}}));
  ChangeCoupon("starts_at = '2020-01-01'");
  EXPECT_EQ(Explain(77)["answers"], (json{{"status", "CM503"}, {"issue", "CM503"}}));
  EXPECT_EQ(Run({"explain", "--coupon", "1"}).exit, Exit::kUnable) << "whom?";
}

TEST_F(CtlCommands, SaysTheSameAsTheServerOfEachUserOfACampaign) {
  SellOut(200);
  for (const int64_t user : {1, 2, 150, 201, 999}) {
    std::promise<absl::StatusOr<std::optional<coupon::Issue>>> found;
    issuer_.Find({id_, {user}}, [&](auto issue) { found.set_value(std::move(issue)); });
    const auto issue = found.get_future().get();
    ASSERT_TRUE(issue.ok());
    Ask({user});
    const json answers = Explain(user)["answers"];
    EXPECT_EQ(answers["status"], *issue ? "ISSUED" : "CP104") << user;
    EXPECT_EQ(answers["issue"], journal_.back().answer == "DUPLICATE" ? "CP102" : "CP101") << user;
  }
}

TEST_F(CtlCommands, ListsShowsAndDiscardsLettersEachOnce) {
  PutPoison("77", "p\xFFison");
  PutPoison("78", "second");
  ASSERT_TRUE(Await(2));
  const json letter = Letters()[0];
  EXPECT_EQ(letter["origin_topic"], "coupon-issue");
  EXPECT_EQ(letter["origin_partition"], 0);
  EXPECT_EQ(letter["content"], "none of ours");
  EXPECT_EQ(letter["key"], "77");
  EXPECT_EQ(letter["payload_bytes"], 6);
  EXPECT_EQ(letter["cut"], false);
  EXPECT_NE(letter["reason"], "");
  EXPECT_FALSE(letter.contains("settled_as"));

  const CtlAnswer shown = Deal("show", letter);
  EXPECT_EQ(shown.exit, Exit::kClean);
  EXPECT_EQ(shown.json()["payload_base64"], "cP9pc29u") << "whatever its bytes";
  const CtlAnswer text = Run({"dlt", "list"});
  EXPECT_NE(text.out.find("\n2 dead letters\n"), text.out.npos) << text.out;

  const CtlAnswer discarded = Deal("discard", letter);
  EXPECT_EQ(discarded.exit, Exit::kClean);
  EXPECT_EQ(discarded.out.rfind("discarded 0/", 0), 0u) << discarded.out;
  EXPECT_NE(Deal("discard", letter).out.find("nothing was done"), std::string::npos);
  EXPECT_NE(Deal("replay", letter).out.find("was discarded at"), std::string::npos);
  ASSERT_EQ(Letters().size(), 1u);
  EXPECT_NE(Run({"dlt", "list"}).out.find("\n1 dead letter\n"), std::string::npos);
  const json all = Letters({"--all"});
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const json& one) { return one["offset"] == letter["offset"]; });
  ASSERT_NE(found, all.end());
  EXPECT_EQ((*found)["settled_as"], "discarded");
  EXPECT_EQ(Deal("show", letter).json()["settled_as"], "discarded");
}

TEST_F(CtlCommands, ReplaysAClaimThatThenBecomesARowOnce) {
  Append({77}, incarnation_);  // before anybody has defined the coupon
  ASSERT_TRUE(Await(1));
  const json letter = Letters()[0];
  EXPECT_EQ(letter["reason"], "no such coupon");
  EXPECT_EQ(letter["claim"]["user"], 77);
  EXPECT_EQ(letter["claim"]["coupon"], id_.value);
  EXPECT_EQ(letter["claim"]["incarnation"], incarnation_);
  Define(10);
  const int64_t before = RecordsInLog();
  const CtlAnswer replayed = Deal("replay", letter);
  EXPECT_EQ(replayed.exit, Exit::kClean) << replayed.error;
  EXPECT_EQ(replayed.out.rfind("replayed 0/", 0), 0u) << replayed.out;
  ASSERT_TRUE(Drain());
  EXPECT_EQ(database().Texts(
                absl::StrCat("SELECT request_id FROM coupon_issues WHERE coupon_id = ", id_.value)),
            std::vector<std::string>{letter["claim"]["request_id"]});
  const CtlAnswer again = Deal("replay", letter);
  EXPECT_EQ(again.exit, Exit::kClean);
  EXPECT_NE(again.out.find("was replayed at"), again.out.npos) << again.out;
  EXPECT_EQ(RecordsInLog(), before + 1) << "a letter is replayed once";
  EXPECT_EQ(Letters().size(), 0u);

  ASSERT_TRUE(Eventually([&] { return reconciler_.EnsureArmed(id_).ok(); }));
  const CtlAnswer verified = Verify({"--wait", "30s"});
  EXPECT_EQ(verified.exit, Exit::kClean) << verified.out;
  EXPECT_EQ(Explain(77)["answers"]["status"], "ISSUED");
}

TEST_F(CtlCommands, ReplaysALetterThatIsRefusedAgainAsAnother) {
  PutPoison("77", "poison");
  ASSERT_TRUE(Await(1));
  const json letter = Letters()[0];
  const CtlAnswer replayed = Deal("replay", letter);
  EXPECT_EQ(replayed.exit, Exit::kClean);
  EXPECT_NE(replayed.out.find("it comes back as another letter"), replayed.out.npos);
  ASSERT_TRUE(Await(1));
  const json next = Letters()[0];
  EXPECT_GT(next["offset"], letter["offset"]);
  EXPECT_EQ(next["payload_bytes"], letter["payload_bytes"]);
  EXPECT_EQ(next["key"], letter["key"]);
}

TEST_F(CtlCommands, DealsWithAllLettersAtOnce) {
  constexpr size_t kLetters = 300;
  Append(Range(1, kLetters), incarnation_);
  ASSERT_TRUE(Await(kLetters));
  Define(kLetters);
  const CtlAnswer replayed = Run({"dlt", "replay", "--all"});
  EXPECT_EQ(replayed.exit, Exit::kClean) << replayed.error;
  ASSERT_TRUE(Drain());
  EXPECT_EQ(database().Count(
                absl::StrCat("SELECT COUNT(*) FROM coupon_issues WHERE coupon_id = ", id_.value)),
            kLetters);
  const CtlAnswer again = Run({"dlt", "replay", "--all"});
  EXPECT_EQ(again.out, "no dead letters are left\n");
}

TEST_F(CtlCommands, CannotDealWithALetterThatIsNotThere) {
  PutPoison("77", "poison");
  ASSERT_TRUE(Await(1));
  const std::string offset = Letters()[0]["offset"].dump();
  for (const std::string how : {"show", "replay", "discard"}) {
    const CtlAnswer unknown = Run({"dlt", how, "--offset", "999999999"});
    EXPECT_EQ(unknown.exit, Exit::kUnable) << how;
    EXPECT_NE(unknown.error.find("there is no dead letter 0/999999999"), unknown.error.npos)
        << unknown.error;
    EXPECT_EQ(Run({"dlt", how, "--offset", offset, "--partition", "9"}).exit, Exit::kUnable) << how;
    EXPECT_EQ(Run({"dlt", how, "--offset", offset, "--partition", "4294967296"}).exit,
              Exit::kUnable)
        << "no partition of that number, and not another one: " << how;
    EXPECT_EQ(Run({"dlt", how}).exit, Exit::kUnable) << "which?";
  }
  EXPECT_EQ(Run({"dlt", "discard", "--offset", offset, "--all"}).exit, Exit::kUnable);
  EXPECT_EQ(Letters().size(), 1u) << "none of these was about the letter that is there";
}

TEST_F(CtlCommands, ShowsGatesAndWhichGenerationIsValid) {
  Open(10);
  Ask({1, 2, 3});
  ASSERT_TRUE(Drain());
  const std::string coupon = absl::StrCat(id_.value);
  const auto show = [&] { return Run({"gate", "show", "--coupon", coupon, "-o", "json"}); };
  const json open = show().json()[0];
  EXPECT_EQ(open["coupon"], id_.value);
  EXPECT_EQ(open["open"], true);
  EXPECT_EQ(open["generation"], open["valid_generation"]);
  EXPECT_EQ(open["total"], 10);
  EXPECT_EQ(open["stock"], 7);
  EXPECT_EQ(open["participants"], 3);
  EXPECT_EQ(open["reservations"], 0);
  EXPECT_EQ(Run({"gate", "show", "-o", "json"}).json(), json::array({open}));

  ChangeCoupon("gate_generation = 9");
  EXPECT_EQ(show().json()[0]["open"], false);
  EXPECT_NE(Run({"gate", "show"}).out.find("closed at generation 1 (9 is the valid one)"),
            std::string::npos);
  redis().Do({"FLUSHALL"});
  EXPECT_FALSE(show().json()[0].contains("generation"));
  EXPECT_NE(Run({"gate", "show"}).out.find("no gate; generation 9 is the valid one"),
            std::string::npos);
  EXPECT_EQ(Run({"gate", "show", "--coupon", "987654"}).exit, Exit::kUnable);
}

TEST_F(CtlCommands, RebuildsAGateFromTheRowsByTheRunningServers) {
  SellOut(300);
  Redis({"SREM", Key("participants")}, Choose(100, 300));
  ASSERT_EQ(Verify().exit, Exit::kBroken);
  const int64_t generation = Verify().json()["gate"]["generation"];
  const RunningReconciler server(reconciler_);
  const CtlAnswer rebuilt = Run({"gate", "rebuild", "--coupon", absl::StrCat(id_.value)});
  EXPECT_EQ(rebuilt.exit, Exit::kClean) << rebuilt.out << rebuilt.error;
  EXPECT_NE(rebuilt.out.find("is open at generation "), rebuilt.out.npos) << rebuilt.out;
  const CtlAnswer after = Verify({"--wait", "30s"});
  EXPECT_EQ(after.exit, Exit::kClean) << after.out;
  EXPECT_GT(after.json()["gate"]["generation"], generation);
  EXPECT_EQ(after.json()["gate"]["participants"], 300);
}

TEST_F(CtlCommands, RebuildsNoGateThatACouponDoesNotHave) {
  Define(10, absl::Hours(1));
  const CtlAnswer early = Run({"gate", "rebuild", "--coupon", absl::StrCat(id_.value)});
  EXPECT_EQ(early.exit, Exit::kUnable);
  EXPECT_NE(early.error.find("has no gate now"), early.error.npos) << early.error;
  EXPECT_EQ(Run({"gate", "rebuild", "--coupon", "987654"}).exit, Exit::kUnable);
  EXPECT_EQ(Run({"gate", "rebuild"}).exit, Exit::kUnable);
}

TEST_F(CtlCommands, PreviewsARepairAndChangesNothing) {
  SellOut(300);
  const std::string coupon = absl::StrCat("coupon ", id_.value, ": ");
  CtlAnswer preview = Run({"reconcile", "--dry-run"});
  EXPECT_EQ(preview.out, "nothing to do\n");
  EXPECT_EQ(preview.exit, Exit::kClean);

  const auto expect_preview = [&](const std::string& line) {
    const std::string before = State();
    const CtlAnswer answer = Run({"reconcile", "--dry-run"});
    EXPECT_EQ(State(), before);
    EXPECT_EQ(answer.exit, Exit::kBroken);
    EXPECT_EQ(answer.out, coupon + line + "\n");
  };
  ChangeCoupon("available_quantity = 5");
  expect_preview("rebuild the gate: it holds 0 units and 300 participants, the store has 5 of 300");
  ChangeCoupon("available_quantity = 0");
  Reserve(Choose(30, 300), absl::Minutes(1));
  Join(Range(1000, 1039));
  Reserve(Range(1000, 1039), absl::Minutes(1));
  redis().Do({"HINCRBY", Key("meta"), "total", "40"});
  expect_preview("drop 30 reservations that are rows\n" + coupon +
                 "append 40 lost reservations again");
  redis().Do({"SET", Key("stock"), "7"});
  expect_preview(absl::StrCat("rebuild the gate: it is not open at generation ",
                              Verify().json()["gate"]["generation"].get<int64_t>()));
}

TEST_F(CtlCommands, ReconcilesWhatThePreviewNamed) {
  SellOut(300);
  Redis({"SREM", Key("participants")}, Choose(100, 300));
  redis().Do({"INCRBY", Key("stock"), "100"});
  Reserve(Those(Choose(200, 300), [](int64_t user) { return user % 2 == 0; }), absl::Minutes(2));
  ASSERT_EQ(Run({"reconcile", "--dry-run"}).exit, Exit::kBroken);
  ASSERT_EQ(Verify().exit, Exit::kBroken);
  ASSERT_TRUE(Eventually([&] {
    const CtlAnswer done = Run({"reconcile"});
    EXPECT_EQ(done.exit, Exit::kClean) << done.error;
    return Run({"reconcile", "--dry-run"}).exit == Exit::kClean && Verify().exit == Exit::kClean;
  })) << Verify().out;
}

TEST_F(CtlCommands, RefusesWhatIsNoCommandWithALineThatHelps) {
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{},
                                                {"verfy"},
                                                {"gate"},
                                                {"verify", "--coupon", "1", "--dry-run"},
                                                {"dlt", "list", "--nonsense"},
                                                {"verify", "--coupon", "1", "-o", "xml"}}) {
    const CtlAnswer answer = Run(wrong);
    EXPECT_EQ(answer.exit, Exit::kUnable);
    EXPECT_EQ(answer.out, "");
    EXPECT_EQ(answer.error.rfind("ecomctl: ", 0), 0u) << answer.error;
    EXPECT_EQ(std::count(answer.error.begin(), answer.error.end(), '\n'), 1) << answer.error;
  }
  EXPECT_EQ(Run({"verify", "--help"}).out, ctl::HelpText());
}

}  // namespace
}  // namespace ecom::tests
