#include "adapters/mysql/settled_letters.h"

#include "base/status_macros.h"

namespace ecom::adapters::mysql {

absl::StatusOr<std::vector<SettledLetter>> MysqlSettledLetters::Between(
    coupon::LogPartition partition, coupon::LogPosition begin, coupon::LogPosition end) {
  std::vector<SettledLetter> letters;
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(
      Statement select,
      connection->Prepare("SELECT letter_offset, settled_as, settled_at FROM dead_letters_settled "
                          "WHERE letter_partition = ? AND letter_offset >= ? AND letter_offset < ? "
                          "ORDER BY letter_offset"));
  select.Bind(partition, begin, end);
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) return letters;
    letters.push_back({.partition = partition,
                       .position = select.Int(0),
                       .settled_as = std::string(select.Text(1)),
                       .settled_at = select.Time(2)});
  }
}

absl::StatusOr<int64_t> MysqlSettledLetters::CountBetween(coupon::LogPartition partition,
                                                          coupon::LogPosition begin,
                                                          coupon::LogPosition end) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  ASSIGN_OR_RETURN(Statement select,
                   connection->Prepare(
                       "SELECT COUNT(*) FROM dead_letters_settled "
                       "WHERE letter_partition = ? AND letter_offset >= ? AND letter_offset < ?"));
  RETURN_IF_ERROR(select.Bind(partition, begin, end).Step().status());
  return select.Int(0);
}

absl::Status MysqlSettledLetters::Settle(coupon::LogPartition partition,
                                         coupon::LogPosition position,
                                         std::string_view settled_as) {
  ASSIGN_OR_RETURN(ConnectionPool::Lease connection, pool_.Acquire());
  // Only what is there by the key is passed over; each other error stays one.
  ASSIGN_OR_RETURN(
      Statement insert,
      connection->Prepare("INSERT INTO dead_letters_settled (letter_partition, letter_offset, "
                          "settled_as, settled_at) VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE "
                          "letter_offset = dead_letters_settled.letter_offset"));
  return insert.Bind(partition, position, settled_as, clock_.Now()).Run().status();
}

}  // namespace ecom::adapters::mysql
