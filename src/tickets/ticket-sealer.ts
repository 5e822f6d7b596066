/**
 * What seals a session so that it can leave the process.
 *
 * @module
 */

/** Encrypts and authenticates bytes; {@link TicketCodec} and {@link Rfc5077Codec} are two. */
export interface TicketSealer {
  /**
   * Seals bytes.
   *
   * @param state what to seal, such as a session
   * @param context bytes that are authenticated but not part of the result: {@link open} needs the same ones
   */
  seal(state: Uint8Array, context?: Uint8Array): Buffer;
  /**
   * Never throws on what came from outside.
   *
   * @returns the state, or `undefined` for anything that was not sealed by these keys under that context
   */
  open(ticket: Uint8Array, context?: Uint8Array): Buffer | undefined;
}
