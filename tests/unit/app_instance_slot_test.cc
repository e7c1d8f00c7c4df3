#include "app/instance_slot.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "support/temporary_folder.h"

namespace ecom::app {
namespace {

TEST(InstanceSlot, GivesEachHolderOfAFolderAnotherName) {
  const tests::TemporaryFolder folder;
  const auto first = InstanceSlot::Take(folder.path());
  const auto second = InstanceSlot::Take(folder.path());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE((*first)->name(), (*second)->name());
}

TEST(InstanceSlot, GivesTheNameOfOneThatEndedToTheNext) {
  const tests::TemporaryFolder folder;
  auto first = InstanceSlot::Take(folder.path());
  const auto second = InstanceSlot::Take(folder.path());
  const std::string name = (*first)->name();
  first->reset();
  EXPECT_EQ((*InstanceSlot::Take(folder.path()))->name(), name);
}

TEST(InstanceSlot, TellsFoldersApart) {
  const tests::TemporaryFolder one, other;
  EXPECT_NE((*InstanceSlot::Take(one.path()))->name(), (*InstanceSlot::Take(other.path()))->name());
}

TEST(InstanceSlot, RefusesAFolderThatIsNotThereOrIsFull) {
  EXPECT_TRUE(absl::IsFailedPrecondition(InstanceSlot::Take("/nonexistent").status()));
  const tests::TemporaryFolder folder;
  std::vector<std::unique_ptr<InstanceSlot>> held;
  for (;;) {
    auto slot = InstanceSlot::Take(folder.path());
    if (!slot.ok()) {
      EXPECT_TRUE(absl::IsFailedPrecondition(slot.status()));
      break;
    }
    held.push_back(*std::move(slot));
    ASSERT_LT(held.size(), 1000u);
  }
  EXPECT_GT(held.size(), 10u);
}

}  // namespace
}  // namespace ecom::app
