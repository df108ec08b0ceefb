'use strict'

const Link = require('./link')

// How long a request waits for a service that nobody offers: longer than it takes
// everybody to find a new distributor.
const PARK = 6000

const problem = (status, message) => Object.assign(new Error(message), { status })

// One instance of a service, as the gateway sees it.
class Instance {
  constructor (service, changed) {
    this.id = service.id
    this.name = service.name
    this.listed = true // by the distributor
    this.usable = false // between its hello and its goodbye
    this.leaving = false
    this.pending = new Map() // id of a request -> its promise
    this.last = 0
    this.link = new Link(service.port, service.host)
    this.link.on('packet', packet => this.#packet(packet, changed))
    this.link.on('down', () => this.#down(changed))
  }

  #packet (packet, changed) {
    switch (packet.kind) {
      case 'hello':
        this.usable = true
        console.log('there is %s', this.id)
        return changed(this)
      case 'goodbye':
        this.usable = false
        this.leaving = true
        this.closeIfDone()
        return changed(this)
      case 'answer':
        this.pending.get(packet.id)?.resolve(packet)
        this.pending.delete(packet.id)
        this.closeIfDone()
    }
  }

  #down (changed) {
    if (this.pending.size > 0) console.log('lost %s with %d requests', this.id, this.pending.size)
    else if (!this.leaving) console.log('lost %s', this.id)
    this.usable = false
    for (const { reject } of this.pending.values()) reject(problem(502, `${this.name} broke off`))
    this.pending.clear()
    if (!this.listed) this.link.close()
    changed(this)
  }

  get gone () {
    return this.link.closed && this.pending.size === 0
  }

  ask (request) {
    return new Promise((resolve, reject) => {
      const id = ++this.last
      this.pending.set(id, { resolve, reject })
      this.link.send({ kind: 'request', id, ...request })
    })
  }

  closeIfDone () {
    if (this.leaving && this.pending.size === 0) this.link.close()
  }

  // Leaves it once its answers are in.
  close () {
    this.usable = false
    this.leaving = true
    this.closeIfDone()
  }
}

// The services that there are. The distributor's list only adds to it: a distributor
// that has just begun does not know everybody yet. What takes from it is a service's own
// goodbye, or the end of its connection.
class Registry {
  constructor (distributorPort) {
    this.instances = new Map() // by id
    this.turn = new Map() // name -> the instance asked last
    this.parked = new Set() // requests that wait for an instance
    this.distributor = new Link(distributorPort)
    this.distributor.on('packet', ({ services = [] }) => this.#listed(services))
  }

  #listed (services) {
    const ids = new Set(services.map(s => s.id))
    for (const instance of this.instances.values()) {
      instance.listed = ids.has(instance.id)
      if (!instance.listed) this.#changed(instance)
    }
    for (const service of services) {
      if (this.instances.has(service.id)) continue
      this.instances.set(service.id, new Instance(service, i => this.#changed(i)))
    }
  }

  #changed (instance) {
    // One that has said goodbye is remembered until the list has it no more.
    if (instance.gone && !instance.listed) this.instances.delete(instance.id)
    if (instance.usable) for (const retry of this.parked) retry()
  }

  // The instances of a service take turns.
  #next (name) {
    const usable = [...this.instances.values()].filter(i => i.name === name && i.usable)
    if (usable.length === 0) return null
    const turn = (this.turn.get(name) ?? -1) + 1
    this.turn.set(name, turn)
    return usable[turn % usable.length]
  }

  has (name) {
    return [...this.instances.values()].some(i => i.name === name && i.usable)
  }

  // Resolves to an instance of a service, as soon as there is one.
  find (name) {
    const found = this.#next(name)
    if (found) return Promise.resolve(found)
    return new Promise((resolve, reject) => {
      const retry = () => {
        const found = this.#next(name)
        if (found) done(() => resolve(found))
      }
      const timer = setTimeout(() => done(() => reject(problem(503, `no ${name} can be reached`))), PARK)
      const done = act => {
        clearTimeout(timer)
        this.parked.delete(retry)
        act()
      }
      console.log('a request waits for %s', name)
      this.parked.add(retry)
    })
  }

  async ask (name, request) {
    let instance
    do instance = await this.find(name); while (!instance.usable)
    return { ...await instance.ask(request), by: instance.id }
  }

  // Resolves when each of the services can be asked.
  async reach (names) {
    for (const name of names) {
      while (!this.has(name)) await this.find(name).catch(() => {})
    }
  }

  close () {
    this.distributor.close()
    for (const instance of this.instances.values()) instance.close()
  }
}

module.exports = Registry
