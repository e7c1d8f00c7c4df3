#include <gtest/gtest.h>

#include "adapters/mysql/mysql_status.h"

namespace ecom::adapters::mysql {
namespace {

struct Row {
  unsigned error;
  absl::StatusCode code;
  bool usable;
  const char* meaning;
};

using enum absl::StatusCode;

constexpr Row kTable[] = {
    {0, kOk, true, "no error"},
    // The transaction is rolled back, or can be, and the session goes on.
    {1213, kUnavailable, true, "deadlock"},
    {1205, kUnavailable, true, "lock wait timeout"},
    // The session is lost, or was never there.
    {2002, kUnavailable, false, "no server at the socket"},
    {2003, kUnavailable, false, "no server at host and port"},
    {2004, kUnavailable, false, "cannot make a TCP socket"},
    {2005, kUnavailable, false, "unknown host"},
    {2006, kUnavailable, false, "server has gone away"},
    {2012, kUnavailable, false, "error in the handshake"},
    {2013, kUnavailable, false, "connection lost during a query"},
    {2055, kUnavailable, false, "connection lost, with a system error"},
    {1040, kUnavailable, false, "too many connections"},
    {1203, kUnavailable, false, "too many connections of this user"},
    {1129, kUnavailable, false, "host blocked"},
    {1053, kUnavailable, false, "server shuts down"},
    {1077, kUnavailable, false, "server has shut down"},
    {1317, kUnavailable, false, "query interrupted"},
    {1180, kUnavailable, false, "error during COMMIT"},
    {1158, kUnavailable, false, "network read error"},
    {1159, kUnavailable, false, "network read timeout"},
    {1160, kUnavailable, false, "network write error"},
    {1161, kUnavailable, false, "network write timeout"},
    {1290, kUnavailable, false, "server is read-only"},
    {1927, kUnavailable, false, "MariaDB: connection killed"},
    {1969, kUnavailable, false, "MariaDB: statement took too long"},
    {3024, kUnavailable, false, "MySQL: query took too long"},
    {4031, kUnavailable, false, "MySQL: disconnected for inactivity"},
    {1243, kUnavailable, false, "prepared statement unknown to the server"},
    {1412, kUnavailable, false, "table definition changed"},
    {1461, kUnavailable, false, "too many prepared statements"},
    {1615, kUnavailable, false, "statement must be prepared again"},
    // The server is out of something.
    {1021, kUnavailable, false, "disk full"},
    {1114, kUnavailable, false, "table full"},
    {1037, kUnavailable, false, "out of memory"},
    {1038, kUnavailable, false, "out of sort memory"},
    {1041, kUnavailable, false, "out of resources"},
    // The statement failed, the session goes on.
    {1062, kAlreadyExists, true, "duplicate key"},
    {1048, kInvalidArgument, true, "column cannot be null"},
    {1264, kInvalidArgument, true, "out of range for the column"},
    {1690, kInvalidArgument, true, "out of range in an expression"},
    {1292, kInvalidArgument, true, "incorrect value"},
    {1366, kInvalidArgument, true, "incorrect value for the column"},
    {1406, kInvalidArgument, true, "too long for the column"},
    {3819, kInvalidArgument, true, "MySQL: CHECK violated"},
    {4025, kInvalidArgument, true, "MariaDB: CHECK violated"},
    {1049, kFailedPrecondition, true, "unknown database"},
    {1054, kFailedPrecondition, true, "unknown column"},
    {1176, kFailedPrecondition, true, "no such index"},
    {1146, kFailedPrecondition, true, "no such table"},
    {1364, kFailedPrecondition, true, "column without a default"},
    {1044, kPermissionDenied, false, "no access to the database"},
    {1045, kPermissionDenied, false, "access denied"},
    {1698, kPermissionDenied, false, "access denied without a password"},
    {1142, kPermissionDenied, false, "no access to the table"},
    {1143, kPermissionDenied, false, "no access to the column"},
    {1227, kPermissionDenied, false, "privilege missing"},
    // Our own bugs, and what nobody has thought of.
    {1064, kInternal, false, "syntax error"},
    {2014, kInternal, false, "commands out of sync"},
    {1022, kInternal, false, "duplicate key of another kind"},
    {1452, kInternal, false, "a foreign key, of which we have none"},
    {64999, kInternal, false, "unknown"},
};

TEST(MysqlStatus, MapsEachRowOfTheTable) {
  for (const Row& row : kTable) {
    EXPECT_EQ(MysqlStatus(row.error, "doing", "said").code(), row.code)
        << row.error << " " << row.meaning;
    EXPECT_EQ(LeavesConnectionUsable(row.error), row.usable) << row.error << " " << row.meaning;
  }
}

TEST(MysqlStatus, SaysWhatWasDoneTheNumberAndTheServersWords) {
  EXPECT_EQ(MysqlStatus(1213, "recording", "Deadlock found").message(),
            "recording: mysql error 1213: Deadlock found");
  EXPECT_TRUE(MysqlStatus(0, "recording", "").ok());
}

}  // namespace
}  // namespace ecom::adapters::mysql
