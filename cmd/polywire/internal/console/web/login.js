// The way in.
import { setText } from "./dom.js";
import { duration } from "./format.js";

/** Shows the form until somebody has logged in with it. */
export class Login {
  #form = document.getElementById("login-form");
  #token = document.getElementById("token");
  #error = document.getElementById("login-error");
  #go = document.getElementById("login-go");

  /** @param ask (token) => Promise of being let in @param entered is called then */
  constructor(ask, entered) {
    this.#form.addEventListener("submit", async (event) => {
      event.preventDefault();
      this.#go.disabled = true;
      setText(this.#error, "");
      try {
        await ask(this.#token.value);
        this.#token.value = "";
        entered();
      } catch (error) {
        setText(this.#error, text(error));
        this.#token.select();
      } finally {
        this.#go.disabled = false;
      }
    });
  }

  /** @param why is said, if there is something to say */
  show(why = "") {
    document.title = "Log in · Polywire console";
    setText(this.#error, why);
    this.#token.focus();
  }
}

function text(error) {
  if (error.status === 401) return "This is not the token.";
  if (error.status === 429) return `Too many wrong tokens.${error.after ? ` Try again in ${duration(error.after * 1000)}.` : " Try again later."}`;
  return error.message;
}
