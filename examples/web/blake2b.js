// @ts-check
// BLAKE2b without a key (RFC 7693): what the tags of an inbox are made of. Browsers have no such hash of their own.
//
// Written for its reader: words of 64 bits are BigInts, which a BigUint64Array keeps to 64 bits by itself. A tag is one
// block, some fifty microseconds.

const BLOCK_BYTES = 128;

// Section 2.6: the same as of SHA-512.
const IV = BigUint64Array.of(
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
);

// Section 2.7: in which order a round takes the words of a block. Rounds 10 and 11 begin again at the first line.
const SIGMA = [
  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

// Section 3.2: which words are mixed together, first the columns and then the diagonals.
const MIXES = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
  [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

/**
 * The hash of some bytes.
 *
 * @param {Uint8Array} data
 * @param {number} size How many bytes it shall have, 1 to 64.
 * @returns {Uint8Array}
 */
export function blake2b(data, size) {
  const blocks = Math.max(1, Math.ceil(data.length / BLOCK_BYTES));
  const padded = new Uint8Array(blocks * BLOCK_BYTES);
  padded.set(data);
  const view = new DataView(padded.buffer);
  const h = IV.slice();
  h[0] ^= 0x01010000n ^ BigInt(size); // section 2.5: no key, one lane
  for (let block = 0; block < blocks; block += 1) {
    const isLast = block === blocks - 1;
    const words = BigUint64Array.from({ length: 16 }, (_, i) => view.getBigUint64(block * BLOCK_BYTES + 8 * i, true));
    compress(h, words, isLast ? data.length : (block + 1) * BLOCK_BYTES, isLast);
  }
  const out = new DataView(new ArrayBuffer(64));
  h.forEach((word, i) => out.setBigUint64(8 * i, word, true));
  return new Uint8Array(out.buffer).slice(0, size);
}

/**
 * Section 3.2: work a block into the state.
 *
 * @param {BigUint64Array} h The state, which is changed.
 * @param {BigUint64Array} words The block.
 * @param {number} count How many bytes have come with it.
 * @param {boolean} isLast
 */
function compress(h, words, count, isLast) {
  const v = new BigUint64Array(16);
  v.set(h);
  v.set(IV, 8);
  v[12] ^= BigInt(count);
  if (isLast) v[14] = ~v[14];
  for (let round = 0; round < 12; round += 1) {
    const order = SIGMA[round % 10];
    MIXES.forEach(([a, b, c, d], i) => {
      mix(v, a, b, c, d, words[order[2 * i]], words[order[2 * i + 1]]);
    });
  }
  for (let i = 0; i < 8; i += 1) h[i] ^= v[i] ^ v[i + 8];
}

/**
 * Section 3.1: the function G.
 *
 * @param {BigUint64Array} v
 * @param {number} a @param {number} b @param {number} c @param {number} d
 * @param {bigint} x @param {bigint} y
 */
function mix(v, a, b, c, d, x, y) {
  v[a] = v[a] + v[b] + x;
  v[d] = rotated(v[d] ^ v[a], 32n);
  v[c] = v[c] + v[d];
  v[b] = rotated(v[b] ^ v[c], 24n);
  v[a] = v[a] + v[b] + y;
  v[d] = rotated(v[d] ^ v[a], 16n);
  v[c] = v[c] + v[d];
  v[b] = rotated(v[b] ^ v[c], 63n);
}

/** To the right. What goes above 64 bits is cut off where it is put. @param {bigint} word @param {bigint} count */
const rotated = (word, count) => (word >> count) | (word << (64n - count));
