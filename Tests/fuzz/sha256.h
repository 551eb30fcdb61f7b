/* SHA-256 (FIPS 180-4), for targets whose inputs end in one. */
#include <stdint.h>
#include <string.h>

static uint32_t sha256_turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* The first 32 bits of the fractional part of a root of a prime, by whole numbers: the largest r with r^power ≤ prime · 2^(32 · power). */
static uint32_t sha256_root(unsigned prime, int power) {
  uint64_t root = 0;
  for (int bit = 36; bit >= 0; bit--) {
    uint64_t candidate = root | (uint64_t)1 << bit;
    /* candidate^power against prime << 32·power, in floating point wide enough: 108 bits are needed, so in two halves. */
    unsigned __int128 square = (unsigned __int128)candidate * candidate;
    int is_less;
    if (power == 2) is_less = square <= (unsigned __int128)prime << 64;
    else {
      unsigned __int128 high = (square >> 64) * candidate, low = (square & UINT64_MAX) * candidate;
      high += low >> 64;
      is_less = high < (unsigned __int128)prime << 32 || (high == (unsigned __int128)prime << 32 && (uint64_t)low == 0);
    }
    if (is_less) root = candidate;
  }
  return (uint32_t)root;
}

static void sha256(const uint8_t *bytes, size_t size, uint8_t digest[32]) {
  static uint32_t constants[64], first[8];
  for (unsigned prime = 2, count = 0; !constants[63] && count < 64; prime++) {
    unsigned divisor = 2;
    while (prime % divisor) divisor++;
    if (divisor < prime) continue;
    if (count < 8) first[count] = sha256_root(prime, 2);
    constants[count++] = sha256_root(prime, 3);
  }
  uint32_t state[8];
  memcpy(state, first, sizeof state);
  for (size_t block = 0; block <= (size + 8) / 64; block++) {
    uint32_t w[64] = {0}, s[8];
    for (size_t i = 0; i < 64; i++) {
      size_t at = block * 64 + i;
      uint32_t byte = at < size ? bytes[at] : at == size ? 0x80 : 0;
      if (block == (size + 8) / 64 && i >= 56) byte = (uint32_t)((uint64_t)size * 8 >> (63 - i) * 8) & 255;
      w[i / 4] |= byte << (24 - i % 4 * 8);
    }
    for (int i = 16; i < 64; i++) {
      uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (sha256_turn(a, 7) ^ sha256_turn(a, 18) ^ a >> 3) + (sha256_turn(b, 17) ^ sha256_turn(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
      uint32_t one = s[7] + (sha256_turn(s[4], 6) ^ sha256_turn(s[4], 11) ^ sha256_turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[i] + w[i];
      uint32_t two = (sha256_turn(s[0], 2) ^ sha256_turn(s[0], 13) ^ sha256_turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      memmove(s + 1, s, 7 * sizeof *s);
      s[4] += one, s[0] = one + two;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
  }
  for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - i % 4 * 8));
}
