// The module of a NestJS application, for the program in the README.
import 'reflect-metadata'

import { Module } from '@nestjs/common'

export class AppModule {}
Module({})(AppModule)
