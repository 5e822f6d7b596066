import { createCipheriv, createDecipheriv, createHmac, hkdfSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { referenceHkdf } from './reference-ticket-codec.js';

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B: those for AES-256. */
const GCM_KEY = 'feffe992 8665731c 6d6a8f94 67308308 feffe992 8665731c 6d6a8f94 67308308';
const GCM_STATE =
  'd9313225 f88406e5 a55909c5 aff5269a 86a7a953 1534f7da 2e4c303d 8a318a72 1c3c0c95 95680953 2fcf0e24 49a6b525 b16aedf5 aa0de657 ba637b39';
const GCM_SECRET =
  '522dc1f0 99567d07 f47f37a3 2a84427d 643a8cdc bfe5c0c9 7598a2bd 2555d1aa 8cb08e48 590dbb3d a7b08b10 56828838 c5f61e63 93ba7a0a bcc9f662';
const GCM = [
  { test: 13, key: '00'.repeat(32), nonce: '00'.repeat(12), tag: '530f8afb c74536b9 a963b4f1 c4cb738b' },
  {
    test: 14,
    key: '00'.repeat(32),
    nonce: '00'.repeat(12),
    state: '00'.repeat(16),
    ciphertext: 'cea7403d 4d606b6e 074ec5d3 baf39d18',
    tag: 'd0d1c8a7 99996bf0 265b98b5 d48ab919',
  },
  {
    test: 15,
    key: GCM_KEY,
    nonce: 'cafebabe facedbad decaf888',
    state: `${GCM_STATE} 1aafd255`,
    ciphertext: `${GCM_SECRET} 898015ad`,
    tag: 'b094dac5 d93471bd ec1a5022 70e3cc6c',
  },
  {
    test: 16,
    key: GCM_KEY,
    nonce: 'cafebabe facedbad decaf888',
    aad: 'feedface deadbeef feedface deadbeef abaddad2',
    state: GCM_STATE,
    ciphertext: GCM_SECRET,
    tag: '76fc6ece 0f4e1768 cddf8853 bb2d551b',
  },
];

describe('AES-256-GCM', () => {
  it.each(GCM)('test case $test of its authors', ({ key, nonce, aad = '', state = '', ciphertext = '', tag }) => {
    const cipher = createCipheriv('aes-256-gcm', hex(key), hex(nonce)).setAAD(hex(aad));
    expect(cipher.update(hex(state))).toEqual(hex(ciphertext));
    // The codec takes all from `update` and the tag after `final`.
    expect(cipher.final()).toHaveLength(0);
    expect(cipher.getAuthTag()).toEqual(hex(tag));
    const decipher = createDecipheriv('aes-256-gcm', hex(key), hex(nonce)).setAAD(hex(aad)).setAuthTag(hex(tag));
    expect(decipher.update(hex(ciphertext))).toEqual(hex(state));
    expect(decipher.final()).toHaveLength(0);
  });
});

/** RFC 5869 appendix A; SHA-256. */
const HKDF = [
  {
    test: 'A.1',
    secret: '0b'.repeat(22),
    salt: '000102030405060708090a0b0c',
    info: 'f0f1f2f3f4f5f6f7f8f9',
    output: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  },
  {
    test: 'A.2',
    secret: Buffer.from(Array.from({ length: 80 }, (_, i) => i)).toString('hex'),
    salt: Buffer.from(Array.from({ length: 80 }, (_, i) => 0x60 + i)).toString('hex'),
    info: Buffer.from(Array.from({ length: 80 }, (_, i) => 0xb0 + i)).toString('hex'),
    output:
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
  },
  {
    test: 'A.3',
    secret: '0b'.repeat(22),
    salt: '',
    info: '',
    output: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  },
];

describe('HKDF with SHA-256', () => {
  it.each(HKDF)('test case $test of RFC 5869', ({ secret, salt, info, output }) => {
    const length = output.length / 2;
    expect(Buffer.from(hkdfSync('sha256', hex(secret), hex(salt), hex(info), length))).toEqual(hex(output));
    expect(referenceHkdf(hex(secret), hex(salt), hex(info))).toEqual(hex(output).subarray(0, 32));
  });
});

/** RFC 4231 §4: those for SHA-256 whose result is not cut off. */
const HMAC = [
  {
    test: 1,
    key: '0b'.repeat(20),
    data: Buffer.from('Hi There').toString('hex'),
    mac: 'b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7',
  },
  {
    test: 2,
    key: Buffer.from('Jefe').toString('hex'),
    data: Buffer.from('what do ya want for nothing?').toString('hex'),
    mac: '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  },
  {
    test: 3,
    key: 'aa'.repeat(20),
    data: 'dd'.repeat(50),
    mac: '773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe',
  },
  {
    test: 4,
    key: '0102030405060708090a0b0c0d0e0f10111213141516171819',
    data: 'cd'.repeat(50),
    mac: '82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b',
  },
  {
    test: 6,
    key: 'aa'.repeat(131),
    data: Buffer.from('Test Using Larger Than Block-Size Key - Hash Key First').toString('hex'),
    mac: '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
  },
];

describe('HMAC with SHA-256', () => {
  it.each(HMAC)('test case $test of RFC 4231', ({ key, data, mac }) => {
    expect(createHmac('sha256', hex(key)).update(hex(data)).digest()).toEqual(hex(mac));
  });
});

/** NIST SP 800-38A, F.2.1 and F.2.5. */
const CBC_STATE =
  '6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710';
const CBC = [
  {
    cipher: 'aes-128-cbc',
    key: '2b7e151628aed2a6abf7158809cf4f3c',
    ciphertext:
      '7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2 73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7',
  },
  {
    cipher: 'aes-256-cbc',
    key: '603deb1015ca71be2b73aef0857d7781 1f352c073b6108d72d9810a30914dff4',
    ciphertext:
      'f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d 39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b',
  },
];

describe('AES-CBC', () => {
  it.each(CBC)(
    'the vectors of NIST SP 800-38A for $cipher, one block of padding aside',
    ({ cipher, key, ciphertext }) => {
      const iv = hex('000102030405060708090a0b0c0d0e0f');
      const encrypt = createCipheriv(cipher, hex(key), iv);
      const sealed = Buffer.concat([encrypt.update(hex(CBC_STATE)), encrypt.final()]);
      expect(sealed.subarray(0, 64)).toEqual(hex(ciphertext));
      expect(sealed).toHaveLength(80);
      const decrypt = createDecipheriv(cipher, hex(key), iv);
      expect(Buffer.concat([decrypt.update(sealed), decrypt.final()])).toEqual(hex(CBC_STATE));
    },
  );
});
