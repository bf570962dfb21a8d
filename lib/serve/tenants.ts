/** Tenants that keep their number while they ask for nothing: their prompts are found again in the cache. */
const mostIdle = 1 << 16;

/** Numbers for the names of tenants: the core knows no names. 0 is who has no name. */
export class Tenants {
  private readonly known = new Map<string, { readonly number: number; requests: number }>();
  private next = 1;

  /** A request of a tenant begins. */
  begin(name: string | undefined): number {
    if (name === undefined) return 0;
    const tenant = this.known.get(name) ?? { number: this.newNumber(), requests: 0 };
    tenant.requests++;
    this.known.delete(name); // the latest are the last
    this.known.set(name, tenant);
    if (this.known.size > mostIdle) this.forgetOne();
    return tenant.number;
  }

  end(name: string | undefined): void {
    const tenant = name === undefined ? undefined : this.known.get(name);
    if (tenant) tenant.requests--;
  }

  private newNumber(): number {
    const number = this.next;
    this.next = number === 2 ** 32 - 1 ? 1 : number + 1;
    return number;
  }

  private forgetOne(): void {
    for (const [name, { requests }] of this.known) {
      if (requests > 0) continue;
      this.known.delete(name);
      return;
    }
  }
}
