#pragma once

#include <string_view>

namespace ecom::adapters::redis {

/// A Lua script and the hash (SHA-1, hexadecimal) by which Redis knows it.
struct Script {
  std::string_view hash;
  std::string_view text;
};

// One per .lua file of this folder, embedded at build time.
extern const Script kGateAdmit;
extern const Script kGateArmAdd;
extern const Script kGateArmBegin;
extern const Script kGateArmOpen;
extern const Script kGateClose;
extern const Script kGateFind;
extern const Script kGateInspect;
extern const Script kGateRecorded;
extern const Script kProductDrop;
extern const Script kProductPut;
extern const Script kViewTotalsAdd;
extern const Script kViewTotalsNoteStored;
extern const Script kViewTotalsSeed;
extern const Script kViewTotalsUnstored;

}  // namespace ecom::adapters::redis
