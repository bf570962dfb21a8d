// UTF-8 as the Unicode Standard defines it: no overlong forms, no surrogates, nothing beyond U+10FFFF.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace rubricate {

// Offset of the first byte that is not part of valid UTF-8; npos if all is valid.
inline size_t find_invalid_utf8(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const unsigned char first = byte(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || i + length > text.size()) return i;
    // The second byte's range excludes overlong forms, surrogates and code points beyond U+10FFFF.
    const unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte(i + 1) < least || byte(i + 1) > most) return i;
    for (size_t j = 2; j < length; ++j)
      if ((byte(i + j) & 0xc0) != 0x80) return i;
    i += length;
  }
  return std::string_view::npos;
}

// code: a Unicode scalar value.
inline void append_utf8(std::string& out, uint32_t code) {
  const auto push = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xc0 | code >> 6);
    push(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    push(0xe0 | code >> 12);
    push(0x80 | (code >> 6 & 0x3f));
    push(0x80 | (code & 0x3f));
  } else {
    push(0xf0 | code >> 18);
    push(0x80 | (code >> 12 & 0x3f));
    push(0x80 | (code >> 6 & 0x3f));
    push(0x80 | (code & 0x3f));
  }
}

}  // namespace rubricate
