// @ts-check

/**
 * How far this client has come in a room.
 * @typedef {object} Place
 * @property {string} offset that of the last message, or at which the subscription began; "": none is known
 * @property {number} moves how often a message has moved it
 */

/** The places of the rooms that are subscribed to, or are about to be. */
export class Places {
  /** @type {Map<string, Place>} */
  #rooms = new Map();

  /**
   * A SUBSCRIBE is sent: what it says, and how often the place had moved then.
   * @param {string} room
   * @returns {{offset: string | undefined, moves: number}}
   */
  ask(room) {
    let place = this.#rooms.get(room);
    if (!place) this.#rooms.set(room, (place = { offset: "", moves: 0 }));
    return { offset: place.offset || undefined, moves: place.moves };
  }

  /**
   * The SUBSCRIBE was answered. Messages that came meanwhile know better.
   * @param {string} room
   * @param {number} moves
   * @param {string} [offset] absent: the room has no history
   */
  answered(room, moves, offset = "") {
    const place = this.#rooms.get(room);
    if (place?.moves === moves) place.offset = offset;
  }

  /**
   * A message came.
   * @param {string} room
   * @param {string} offset
   */
  moved(room, offset) {
    const place = this.#rooms.get(room);
    if (!place) return;
    place.offset = offset;
    place.moves++;
  }

  /** @param {string} room */
  offset(room) {
    return this.#rooms.get(room)?.offset ?? "";
  }

  /** @param {string} room */
  forget(room) {
    this.#rooms.delete(room);
  }

  clear() {
    this.#rooms.clear();
  }
}
