import { nameTrouble } from "./sentences";
import { keep, kept } from "./storage";

/** The form in which one says who one is. */
export class Arrival {
  private readonly form = document.getElementById("welcome") as HTMLFormElement;
  private readonly name = document.getElementById("name") as HTMLInputElement;
  private readonly trouble = document.getElementById("name-trouble")!;
  private answer?: (name: string) => void;

  constructor() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = this.name.value.trim();
      const trouble = nameTrouble(name);
      if (trouble) return this.complain(trouble);
      keep("name", name);
      this.form.hidden = true;
      this.answer?.(name);
    });
    this.name.addEventListener("input", () => this.complain(undefined));
  }

  /** Asks for a name: again, with what was wrong, after a refusal. */
  ask(trouble?: string, refused?: string): Promise<string> {
    this.name.value = refused ?? kept("name") ?? "";
    this.form.hidden = false;
    this.complain(trouble);
    this.name.focus();
    this.name.select();
    return new Promise((resolve) => (this.answer = resolve));
  }

  private complain(trouble: string | undefined): void {
    this.trouble.textContent = trouble ?? "";
    this.trouble.hidden = !trouble;
    if (trouble) this.name.setAttribute("aria-invalid", "true");
    else this.name.removeAttribute("aria-invalid");
    if (trouble) this.name.focus();
  }
}
